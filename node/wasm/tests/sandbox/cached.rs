//! Compiled code that outlives the process, and damage to it.

use std::fs;
use std::path::{Path, PathBuf};

use peerless_wasm::{Error, Sandbox, Settings};

use crate::support::{answer, compiled, digest, request, sample_bytes, settings};

fn open(dir: &Path) -> Sandbox {
    let settings = Settings { cache_dir: Some(dir.join("code")), ..settings() };
    Sandbox::new(settings).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir.join("code")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn code_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = sample_bytes("echo");
    let first = open(dir.path());
    let module = compiled(&first, bytes.clone()).await;
    assert!(!module.was_cached() && !module.compile_time().is_zero());
    drop((first, module));
    assert_eq!(files(dir.path()).len(), 1);

    let second = open(dir.path());
    let module = second.cached(digest(&bytes)).await.unwrap();
    assert!(module.was_cached() && module.compile_time().is_zero());
    assert_eq!(module.digest(), digest(&bytes));
    let (_, body, _) = answer(second.run(&module, request("hello"))).await;
    assert_eq!(&body[..], b"hello");

    second.forget(digest(&bytes)).await;
    assert!(second.cached(digest(&bytes)).await.is_none());
    let (_, body, _) = answer(second.run(&module, request("still"))).await;
    assert_eq!(&body[..], b"still");
}

#[tokio::test]
async fn a_damaged_file_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = sample_bytes("words");
    drop(compiled(&open(dir.path()), bytes.clone()).await);
    let [file] = &files(dir.path())[..] else { panic!("one file") };
    let whole = fs::read(file).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut head = whole.clone();
    head[0] ^= 1;
    let short = whole[..whole.len() / 2].to_vec();
    for damaged in [flipped, head, short, whole[..10].to_vec(), Vec::new()] {
        fs::write(file, &damaged).unwrap();
        let sandbox = open(dir.path());
        assert!(sandbox.cached(digest(&bytes)).await.is_none());
        assert!(!file.exists());
        let module = compiled(&sandbox, bytes.clone()).await;
        assert!(!module.was_cached());
        assert_eq!(fs::read(file).unwrap(), whole, "the same code again");
    }
    // One module's code under another's name.
    let echo = sample_bytes("echo");
    let sandbox = open(dir.path());
    drop(compiled(&sandbox, echo.clone()).await);
    let other = files(dir.path()).into_iter().find(|path| path != file).unwrap();
    fs::copy(file, other).unwrap();
    assert!(sandbox.cached(digest(&echo)).await.is_none());
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = |dir: &Path| files(dir).iter().map(|path| path.metadata().unwrap().len()).sum();
    drop(compiled(&open(dir.path()), sample_bytes("echo")).await);
    let one: u64 = sizes(dir.path());
    let small = Settings {
        cache_dir: Some(dir.path().join("code")),
        cache_bytes_max: one * 5 / 2,
        ..settings()
    };
    let sandbox = Sandbox::new(small).unwrap();
    for name in ["words", "fail", "sleep", "spin"] {
        compiled(&sandbox, sample_bytes(name)).await;
        let all: u64 = sizes(dir.path());
        assert!(all <= one * 5 / 2, "{all} bytes");
    }
    assert!(sandbox.cached(digest(&sample_bytes("spin"))).await.is_some());
    assert!(sandbox.cached(digest(&sample_bytes("echo"))).await.is_none());
}

#[cfg(unix)]
#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("code");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let settings = Settings { cache_dir: Some(path.clone()), ..settings() };
    match Sandbox::new(settings) {
        Err(error @ Error::Cache { .. }) => {
            assert!(error.to_string().contains("others may write to it (mode 777)"), "{error}");
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it is used"),
    }
    drop(open(&dir.path().join("fresh")));
    let mode = fs::metadata(dir.path().join("fresh/code")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
