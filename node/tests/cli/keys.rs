//! `key`, and `id` without a node.

use crate::server::{Ended, run};

const NOWHERE: &str = "http://127.0.0.1:1";

async fn key(line: &[&str], input: &str) -> Ended {
    run(NOWHERE, line, input.as_bytes()).await
}

#[tokio::test]
async fn a_key_moves_to_another_machine() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    let (here, there) = (here.to_str().unwrap(), there.to_str().unwrap());
    let made = key(&["key", "generate", "--data-dir", here, "--json"], "").await.json();
    assert!(made["owner"].as_str().unwrap().starts_with("k51"), "{made}");
    let shown = key(&["key", "show", "--data-dir", here, "--json"], "").await.json();
    assert_eq!(made, shown);

    let exported = key(&["key", "export", "--data-dir", here], "").await;
    assert_eq!(exported.status, Some(0));
    let imported = key(&["key", "import", "--data-dir", there, "--json"], &exported.out).await;
    assert_eq!(imported.json()["owner"], made["owner"]);
    #[cfg(unix)]
    {
        let meta = std::fs::metadata(dir.path().join("there/owner.key")).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777, 0o600);
    }

    let again = key(&["key", "generate", "--data-dir", here], "").await;
    assert!(
        again.error(2).contains("owner.key exists already and is not overwritten"),
        "{again:?}"
    );
}

#[tokio::test]
async fn what_is_no_key_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine");
    let file = file.to_str().unwrap();
    for input in ["", "no key", "AAAA"] {
        let ended = key(&["key", "import", "--owner-key", file], input).await;
        assert!(ended.error(2).contains("standard input holds no key"), "{ended:?}");
    }
    let ended = key(&["key", "show", "--owner-key", file], "").await;
    assert!(ended.error(2).contains(file), "{ended:?}");
}

#[tokio::test]
async fn an_id_is_read_from_the_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let identity = dir.path().join("identity.key");
    let identity = identity.to_str().unwrap();
    let made = key(&["key", "generate", "--data-dir", path, "--json"], "").await.json();
    let ended = key(&["id", "--data-dir", path], "").await;
    assert!(ended.error(2).contains("identity.key"), "{ended:?}");
    key(&["key", "generate", "--owner-key", identity], "").await;
    let id = key(&["id", "--data-dir", path, "--json"], "").await.json();
    assert!(id["peer_id"].as_str().unwrap().starts_with("12D3"), "{id}");
    assert_eq!(id["owner"], made["owner"]);
    for field in ["addresses", "version", "functions", "peers"] {
        assert!(id.get(field).is_some(), "{field}: {id}");
    }
    let owner = dir.path().join("owner.key");
    std::fs::write(&owner, "no key").unwrap();
    let ended = key(&["id", "--data-dir", path], "").await;
    assert!(ended.error(2).contains("owner.key"), "{ended:?}");
    std::fs::remove_file(&owner).unwrap();
    let id = key(&["id", "--data-dir", path, "--json"], "").await.json();
    assert!(id["owner"].is_null(), "{id}");
}
