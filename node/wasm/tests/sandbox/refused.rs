//! Modules that are not run at all, and why.

use bytes::Bytes;
use peerless_wasm::{CompileError, Sandbox, Settings};

use crate::support::{digest, sample_bytes, sandbox, settings, wat};

async fn refusal(sandbox: &Sandbox, bytes: Bytes) -> String {
    match sandbox.compile(digest(&bytes), bytes).await {
        Ok(_) => panic!("it compiles"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn what_is_no_command_is_refused_in_words() {
    let with_start = |more: &str| {
        wat(&format!(r#"(module (memory (export "memory") 1) {more} (func (export "_start")))"#))
    };
    for (bytes, words) in [
        (Bytes::new(), "does not begin with"),
        (Bytes::from("hello"), "does not begin with"),
        (sample_bytes("echo").slice(..1000), "not a module that can be run"),
        (Bytes::from_static(b"\0asm\x0d\0\x01\0"), "it is a component"),
        (wat("(module)"), "exports no function `_start`"),
        (wat(r#"(module (func (export "_initialize")))"#), "`_initialize`"),
        (wat(r#"(module (func (export "_start")))"#), "exports no `memory`"),
        (
            wat(r#"(module (memory (export "memory") 1) (func (export "_start") (param i32)))"#),
            "`_start` takes or returns values",
        ),
        (
            wat(
                r#"(module (import "env" "connect" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
            ),
            "imports `env` `connect`, which is not offered",
        ),
        (
            wat(
                r#"(module (import "env" "memory" (memory 1)) (export "memory" (memory 0)) (func (export "_start")))"#,
            ),
            "imports `env` `memory`",
        ),
        (
            wat(
                r#"(module (import "wasi_snapshot_preview1" "fd_read" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
            ),
            "fd_read",
        ),
        (with_start("(memory 1)"), "multiple memories"),
        (with_start("(table 100000 funcref)"), "table 100000 elements, at most 65536"),
        (wat(r#"(module (memory (export "memory") i64 1) (func (export "_start")))"#), "memory64"),
        (
            wat(r#"(module (memory (export "memory") 1 2 shared) (func (export "_start")))"#),
            "threads",
        ),
        (
            wat(r#"(module (memory (export "memory") 65536) (func (export "_start")))"#),
            "initial memory 4294967296 bytes",
        ),
        (
            wat(
                r#"(module (memory (export "memory") 1) (func (export "_start") (drop (i32.const 1) (i64.const 1) (i32.add))))"#,
            ),
            "type mismatch",
        ),
    ] {
        let said = refusal(sandbox(), bytes).await;
        assert!(said.contains(words), "{said}\nshould contain: {words}");
    }
}

#[tokio::test]
async fn limits_are_named() {
    let small = Settings {
        module_bytes_max: 100_000,
        functions_max: 100,
        function_bytes_max: 1_000,
        ..settings()
    };
    let sandbox = Sandbox::new(small).unwrap();
    let functions = "(func)".repeat(101);
    let nops = "nop ".repeat(1_001);
    let data = "x".repeat(100_000);
    for (more, words) in [
        (functions, "number of functions 102, at most 100"),
        (format!("(func {nops})"), "largest function 1003 bytes, at most 1000"),
        (format!(r#"(data "{data}")"#), "at most 100000 are allowed"),
    ] {
        let module =
            format!(r#"(module (memory (export "memory") 2) (func (export "_start")) {more})"#);
        let said = refusal(&sandbox, wat(&module)).await;
        assert!(said.starts_with("too large") && said.contains(words), "{said}");
    }
}

/// A function of `loops` nested loops, each of which works on some of `locals` locals.
fn nested(locals: usize, loops: usize) -> String {
    let declared = "i32 ".repeat(locals);
    let begins: Vec<String> = (0..loops)
        .map(|number| {
            let (one, other) = (1 + number % locals, 1 + number * 7 % locals);
            format!(
                "loop local.get {one} local.get 0 i32.add local.set {other} local.get 0 br_if 0 "
            )
        })
        .collect();
    format!("(func (param i32) (local {declared}) {} {})", begins.concat(), "end ".repeat(loops))
}

fn module(more: &str) -> Bytes {
    wat(&format!(r#"(module (memory (export "memory") 1) (func (export "_start")) {more})"#))
}

#[tokio::test]
async fn a_module_that_would_keep_the_compiler_busy_is_refused_at_once() {
    let many = nested(1000, 1000).repeat(12);
    let wide = format!(
        "(type $wide (func (result {}))) (func $wide (type $wide) unreachable) (func {} unreachable)",
        "i32 ".repeat(1000),
        "call $wide ".repeat(5000)
    );
    let table = format!(
        "(func (param i32) (local {}) block local.get 0 br_table {} end)",
        "i32 ".repeat(1000),
        "0 ".repeat(5000)
    );
    for (bomb, words) in [
        (nested(4000, 4000), "work to compile function 1 48016001"),
        (nested(10, 10_000), "work to compile function 1"),
        (many, "work to compile it"),
        (wide, "work to compile function 2 5000000"),
        (table, "work to compile function 1"),
    ] {
        let bytes = module(&bomb);
        let begun = crate::support::now();
        let said = refusal(sandbox(), bytes).await;
        assert!(said.starts_with("too large") && said.contains(words), "{said}");
        assert!(begun.elapsed() < crate::support::SOON, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_module_at_the_bound_compiles() {
    let bytes = module(&nested(1000, 1000));
    assert!(sandbox().compile(digest(&bytes), bytes).await.is_ok());
}

#[tokio::test]
async fn a_long_name_is_cut_in_a_complaint() {
    let name = "é".repeat(50_000);
    let import = format!(r#"(import "env" "{name}" (func))"#);
    let bytes =
        wat(&format!(r#"(module {import} (memory (export "memory") 1) (func (export "_start")))"#));
    let said = refusal(sandbox(), bytes).await;
    assert!(said.len() < 200 && said.contains("éé…"), "{said}");
}

#[tokio::test]
async fn the_digest_is_checked() {
    let bytes = sample_bytes("echo");
    let error = sandbox().compile([7; 32], bytes.clone()).await.err().unwrap();
    assert!(matches!(error, CompileError::Digest(_)), "{error}");
}

#[tokio::test]
async fn compiling_is_given_up_after_its_time() {
    // Many small functions: a large module that takes long for its size.
    let functions = "(func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))";
    let bytes = wat(&format!(
        r#"(module (memory (export "memory") 1) (func (export "_start")) {})"#,
        functions.repeat(20_000)
    ));
    let time = std::time::Duration::from_millis(5);
    let dir = tempfile::tempdir().unwrap();
    let hasty = Settings {
        cache_dir: Some(dir.path().join("code")),
        compile_timeout: time,
        compile_workers: 1,
        ..settings()
    };
    let sandbox = Sandbox::new(hasty).unwrap();
    let error = sandbox.compile(digest(&bytes), bytes.clone()).await.err().unwrap();
    assert_eq!(error, CompileError::Timeout(time));
    // The worker goes on, and what it made is there in the end.
    let begun = crate::support::now();
    while sandbox.cached(digest(&bytes)).await.is_none() {
        assert!(begun.elapsed().as_secs() < 60);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
