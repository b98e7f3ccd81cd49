//! What a function is given, and what becomes of what it writes.

use http::{Request, StatusCode};
use peerless_wasm::{Failure, Invocation, environment};

use crate::support::{
    answer, command, compiled, failure, request, sample, sandbox, says, with_cgi,
};

#[tokio::test]
async fn the_body_comes_back_with_its_content_type() {
    let echo = sample("echo").await;
    let (head, body, report) = answer(sandbox().run(&echo, request("hello"))).await;
    assert_eq!((head.status, &body[..]), (StatusCode::OK, &b"hello"[..]));
    assert_eq!(head.body_bytes, Some(5));
    assert_eq!(head.headers["content-type"], "application/octet-stream");
    assert_eq!((report.bytes_in, report.bytes_out, report.outcome), (5, 5, Ok(())));
    assert!(report.memory_peak_bytes >= 65_536 && report.cpu > std::time::Duration::ZERO);

    let typed = |env: &[(&str, &str)]| {
        let request = Request::post("/").header("content-type", "text/csv");
        let mut invocation = Invocation::new(request.body(Invocation::input("a,b")).unwrap());
        invocation.env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        invocation
    };
    let (head, ..) = answer(sandbox().run(&echo, typed(&[]))).await;
    assert_eq!(head.headers["content-type"], "text/csv");
    let (head, ..) = answer(sandbox().run(&echo, typed(&[("content_type", "text/html")]))).await;
    assert_eq!(head.headers["content-type"], "text/html");
}

#[tokio::test]
async fn a_header_block_sets_status_and_headers() {
    let echo = sample("echo").await;
    let asked = Request::put("http://h:80/a%20b?x=1&y=%32")
        .header("content-type", "text/x-test")
        .header("x-tracing-id", "7")
        .header("method", "forged");
    let invocation = Invocation::new(asked.body(Invocation::input("hi")).unwrap());
    let (head, body, _) = answer(sandbox().run(&echo, with_cgi(invocation))).await;
    assert_eq!((head.status, &body[..]), (StatusCode::OK, &b"hi"[..]));
    for (name, value) in [
        ("content-type", "text/x-test"),
        ("x-echo-method", "PUT"),
        ("x-echo-path", "/a b"),
        ("x-echo-query", "x=1&y=%32"),
        ("x-echo-header-x-tracing-id", "7"),
        ("x-echo-header-host", "h:80"),
    ] {
        assert_eq!(head.headers[name], value, "{name}");
    }
    assert_eq!(head.body_bytes, Some(2));

    let fail = sample("fail").await;
    let teapot = Request::get("/?status=418").body(Invocation::input("")).unwrap();
    let (head, body, report) =
        answer(sandbox().run(&fail, with_cgi(Invocation::new(teapot)))).await;
    assert_eq!(head.status, StatusCode::IM_A_TEAPOT);
    assert_eq!(&body[..], b"this function fails with status 418\n");
    assert_eq!(report.outcome, Ok(()));
}

#[tokio::test]
async fn a_block_may_redirect_and_speaks_of_no_connection() {
    let text = "location: /there\r\nConnection: close\r\nContent-Length: 99\r\n\r\ngone";
    let module = compiled(sandbox(), says(text)).await;
    let (head, body, _) = answer(sandbox().run(&module, with_cgi(request("")))).await;
    assert_eq!((head.status, &body[..]), (StatusCode::FOUND, &b"gone"[..]));
    assert_eq!(head.headers.len(), 1, "{:?}", head.headers);
}

#[tokio::test]
async fn a_malformed_block_is_said_in_words() {
    for (text, words) in [
        ("", "ended before an empty line, after 0 bytes"),
        ("\nbody", "it is empty"),
        ("A: b\nhello\n\nbody", "line 2 has no colon: \"hello\""),
        ("Status: 99\n\n", "line 1 has a status that is not 200 to 599"),
        ("a b: c\n\n", "line 1 has a name that no header can have"),
        ("a: \u{1}\n\n", "line 1 has a value that no header can have"),
        ("A: b\n", "ended before an empty line, after 5 bytes"),
    ] {
        let module = compiled(sandbox(), says(text)).await;
        let report = failure(sandbox().run(&module, with_cgi(request("")))).await;
        let Err(Failure::Malformed(said)) = &report.outcome else { panic!("{report:?}") };
        assert!(said.contains(words), "{said}");
    }
    let endless = command(
        r#"(func (export "_start")
            (memory.fill (i32.const 1024) (i32.const 97) (i32.const 4096))
            (loop $more (call $write (i32.const 1) (i32.const 4096)) (br $more)))"#,
    );
    let module = compiled(sandbox(), endless).await;
    let report = failure(sandbox().run(&module, with_cgi(request("")))).await;
    let said = "it has no end within 65536 bytes".to_owned();
    assert_eq!(report.outcome, Err(Failure::Malformed(said)));
}

#[tokio::test]
async fn an_exit_status_is_500_with_what_was_written() {
    let fail = sample("fail").await;
    for cgi in [false, true] {
        let mut invocation = request("");
        invocation.cgi = cgi;
        let (head, body, report) = answer(sandbox().run(&fail, invocation)).await;
        assert_eq!(head.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(head.headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(&body[..], b"exit status 1\nthis function fails\non purpose\n");
        assert_eq!(head.body_bytes, Some(body.len() as u64));
        assert_eq!(report.outcome, Err(Failure::Exited(1)));
        assert_eq!((&report.stderr[..], report.stderr_bytes), (&b"on purpose\n"[..], 11));
    }
    // Statuses that a shell would use for signals are statuses like others.
    let asked = Request::get("/?exit=137").body(Invocation::input("")).unwrap();
    let (.., report) = answer(sandbox().run(&fail, Invocation::new(asked))).await;
    assert_eq!(report.outcome, Err(Failure::Exited(137)));
}

#[test]
fn the_environment_is_the_watchdogs() {
    let parts = |request: http::request::Builder| request.body(()).unwrap().into_parts().0;
    let asked = Request::post("/p%C3%BC/%00?q=%20")
        .header("host", "example.org")
        .header("content-length", "12")
        .header("x-two-words", "first")
        .header("x-two-words", "second")
        .header("query", "forged");
    let own = [("KEY", "value"), ("Http_Method", "forged"), ("no=name", "x"), ("nul", "\0")];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let all = environment::of(&parts(asked), false, &own);
    let lines: Vec<String> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = [
        "Http_ContentLength=12",
        "Http_Content_Length=12",
        "Http_Host=example.org",
        "Http_Method=POST",
        "Http_Path=/p%C3%BC/%00",
        "Http_Query=q=%20",
        "Http_X_Two_Words=first",
        "KEY=value",
    ];
    assert_eq!(lines, expected);

    let all = environment::of(&parts(Request::get("http://h/%41%")), true, &[]);
    assert_eq!((all["Http_Path"].as_str(), all["Http_Host"].as_str()), ("/A%", "h"));
    assert_eq!(all["Http_Content_Length"], "0");
    assert_eq!(all["GATEWAY_INTERFACE"], "CGI/1.1");
    let chunked = Request::get("/").header("transfer-encoding", "chunked");
    let all = environment::of(&parts(chunked), false, &[]);
    assert_eq!(
        (all["Http_Content_Length"].as_str(), all["Http_Transfer_Encoding"].as_str()),
        ("-1", "chunked")
    );
    assert!(!all.contains_key("Http_Query") && !all.contains_key("GATEWAY_INTERFACE"));
}
