//! What the sources cannot do, whoever changes them: reach a clock, a socket, a file, a thread, or
//! the order of a hash map.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("RUSTFLAGS");
    cargo
}

/// The crates that the core is made of are these and no others: none of them knows std, and none
/// draws randomness from the machine.
#[test]
fn the_core_is_made_of_no_std_crates() {
    let tree = |features: &str| {
        let mut cargo = cargo();
        cargo.args([
            "tree",
            "--offline",
            "-p",
            "peerless-core",
            "-e",
            "normal",
            "--prefix",
            "none",
        ]);
        let output = cargo.args(["--no-default-features", "--features", features]).output();
        let output = output.expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
        let mut names: Vec<String> =
            text.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(tree(""), ["peerless-core", "rand_core", "rand_xoshiro"]);
    let journal = ["peerless-core", "rand_core", "rand_xoshiro", "serde", "serde_core"];
    let derived = |name: &String| !journal.contains(&name.as_str());
    // The derive macros run in the compiler.
    let macros = ["proc-macro2", "quote", "serde_derive", "syn", "unicode-ident"];
    for name in tree("serde").iter().filter(|name| derived(name)) {
        assert!(macros.contains(&name.as_str()), "{name} is new in the core");
    }
}

/// Appended to the sources, each line of this must be an error.
const ATTEMPTS: &str = "
fn clock() -> u64 { std::time::Instant::now().elapsed().as_secs() }
fn socket() -> bool { std::net::TcpStream::connect(\"localhost:1\").is_ok() }
fn file() -> bool { std::fs::read(\"x\").is_ok() }
fn thread() { std::thread::yield_now() }
fn order() -> usize { std::collections::HashMap::<u8, u8>::new().len() }
";

/// The sources compile in no way once they name a clock, socket, file, thread or hash map.
#[test]
fn the_core_cannot_name_a_clock() {
    let guard = Path::new(env!("CARGO_TARGET_TMPDIR")).join("core-guard");
    drop(fs::remove_dir_all(guard.join("src")));
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &guard.join("src"));
    let lib = guard.join("src/lib.rs");
    let sources = fs::read_to_string(&lib).expect("the core has a lib.rs");
    fs::write(&lib, sources + ATTEMPTS).expect("the copy can be written");
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    fs::copy(lock, guard.join("Cargo.lock")).expect("the workspace has a lock file");
    fs::write(guard.join("Cargo.toml"), manifest()).expect("the copy can be written");
    let output = cargo()
        .current_dir(&guard)
        .args([
            "check",
            "--offline",
            "--lib",
            "--message-format",
            "short",
            "--target-dir",
            "target",
        ])
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let errors = |code: &str| said.matches(code).count();
    assert!(!output.status.success(), "the core can reach std");
    assert_eq!((errors("error[E0433]"), errors("error[")), (5, 5), "{said}");
}

/// The core's own manifest, without the workspace around it.
fn manifest() -> String {
    let workspace = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    let workspace = workspace.expect("there is a workspace");
    let version = workspace.lines().find(|line| line.starts_with("rand_core"));
    let version = version.expect("the workspace names rand_core");
    format!(
        "[package]\nname = \"core-guard\"\nedition = \"2024\"\n[workspace]\n[features]\nserde = []\n\
         planted = []\n[dependencies]\n{version}\n\
         rand_xoshiro = {{ version = \"0.8\", default-features = false }}\n"
    )
}

fn copy(from: &Path, to: &PathBuf) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("the sources can be read") {
        let path = entry.expect("the sources can be read").path();
        let to = to.join(path.file_name().expect("a file has a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("the sources can be copied");
        }
    }
}
