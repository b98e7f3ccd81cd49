//! The sample functions: each module is the one its digest names, and does what it says.

use std::fs;
use std::io::Cursor;

use http::StatusCode;

use crate::support::{answer, digest, functions, request, sample, sample_bytes, sandbox, with_cgi};

#[test]
fn each_digest_is_its_module_s() {
    let mut names = Vec::new();
    for entry in fs::read_dir(functions()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Ok(said) =
            fs::read_to_string(functions().join(&name).join(format!("{name}.wasm.sha256")))
        else {
            continue;
        };
        let bytes = digest(&sample_bytes(&name));
        let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        assert_eq!(said, format!("{hex}  {name}.wasm\n"));
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["echo", "fail", "greedy", "mandelbrot", "sleep", "spin", "words"]);
}

/// The red, green and blue bytes of a PNG.
fn decoded(png: &[u8], size: (u32, u32)) -> Vec<u8> {
    let mut decoder = png::Decoder::new(Cursor::new(png));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().expect("a PNG");
    assert_eq!(reader.info().size(), size);
    assert_eq!(reader.output_color_type(), (png::ColorType::Rgb, png::BitDepth::Eight));
    let mut pixels = vec![0; (size.0 * size.1 * 3) as usize];
    reader.next_frame(&mut pixels).expect("whole and with right sums");
    pixels
}

#[tokio::test]
async fn the_samples_do_what_they_say() {
    let text = fs::read(functions().join("text/kjv.txt")).unwrap();
    let count = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
    let (_, body, _) = answer(sandbox().run(&sample("words").await, request(text))).await;
    assert_eq!(&body[..], format!("{count}\n").as_bytes());

    let mandelbrot = sample("mandelbrot").await;
    let tile = |format| {
        format!(r#"{{"x": -0.75, "zoom": 10, "width": 40, "height": 30, "format": "{format}"}}"#)
    };
    let (head, body, _) = answer(sandbox().run(&mandelbrot, with_cgi(request(tile("png"))))).await;
    assert_eq!(head.headers["content-type"], "image/png");
    let pixels = decoded(&body, (40, 30));
    let (head, body, _) = answer(sandbox().run(&mandelbrot, with_cgi(request(tile("ppm"))))).await;
    assert_eq!(head.headers["content-type"], "image/x-portable-pixmap");
    assert!(body[..] == [&b"P6\n40 30\n255\n"[..], &pixels].concat(), "the same in both formats");
    assert!(pixels.chunks(3).any(|pixel| pixel != &pixels[..3]), "not one colour");

    let (head, body, _) = answer(sandbox().run(&mandelbrot, request(r#"{"zoom": -1}"#))).await;
    assert_eq!(head.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(&body[..], b"exit status 1\nzoom must be 1e-3 to 1e13\n");

    let (_, body, report) = answer(sandbox().run(&sample("sleep").await, request("50"))).await;
    assert_eq!(&body[..], b"50\n");
    assert!(report.wall.as_millis() >= 50 && report.cpu.as_millis() < 50, "{report:?}");
}
