//! `list`, `describe`, `find`, `remove`, `scale`.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::failure::Failure;
use super::gateway;
use super::http::{Gateway, escape};
use super::output::{Output, cell, count, pairs, table};
use crate::cli::{GatewayArg, NameArgs, ScaleArgs};
use crate::{keys, record};

/// A search or change in the network takes at most 30 s at the node.
const WITHIN: Duration = Duration::from_mins(1);

/// A function as it was typed: `NAME` or `NAME.OWNER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FullName {
    pub(crate) name: String,
    pub(crate) owner: Option<String>,
}

impl FullName {
    /// The parts of a name, if it is one.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let (name, owner) = match text.split_once('.') {
            Some((name, owner)) => (name, Some(owner)),
            None => (text, None),
        };
        if !record::is_name(name) {
            return Err(Failure::usage(format!(
                "{name:?} is no function's name: expected lower-case letters, digits and inner \
                 hyphens, at most {}",
                record::NAME_BYTES_MAX
            )));
        }
        // OpenFaaS's default namespace means this node's owner.
        if owner.is_some_and(|owner| owner != "openfaas-fn" && keys::parse_owner(owner).is_none()) {
            let owner = owner.unwrap_or_default();
            return Err(Failure::usage(format!("{owner:?} is no owner: expected k51…")));
        }
        Ok(Self { name: name.to_owned(), owner: owner.map(str::to_owned) })
    }

    /// As it stands in a path.
    pub(crate) fn path(&self) -> String {
        match &self.owner {
            Some(owner) => format!("{}.{}", self.name, owner),
            None => self.name.clone(),
        }
    }

    fn query(&self) -> String {
        let query = |owner: &String| format!("?namespace={}", escape(owner));
        self.owner.as_ref().map(query).unwrap_or_default()
    }

    fn object(&self, key: &str) -> Value {
        match &self.owner {
            Some(owner) => json!({ key: self.name, "namespace": owner }),
            None => json!({ key: self.name }),
        }
    }
}

/// `list`.
pub(super) async fn list(args: &GatewayArg, output: Output) -> Result<(), Failure> {
    let gateway = gateway(args)?;
    let reply = gateway.ask(Method::GET, "/system/functions", None, WITHIN).await?;
    let functions = reply.json(&gateway, "list functions")?;
    let functions: Vec<Value> = functions.as_array().into_iter().flatten().map(listed).collect();
    output.print(&Value::from(functions.clone()), || {
        let row = |function: &Value| {
            ["name", "version", "replicas", "available", "owner"].map(|key| cell(function.get(key)))
        };
        let rows: Vec<_> = functions.iter().map(row).collect();
        table(["NAME", "VERSION", "REPLICAS", "AVAILABLE", "OWNER"], &rows)
    })
}

/// OpenFaaS leaves numbers out that are zero.
fn listed(status: &Value) -> Value {
    let number = |key| status.get(key).and_then(Value::as_u64).unwrap_or(0);
    json!({
        "name": status.get("name"),
        "owner": status.get("owner").or_else(|| status.get("namespace")),
        "version": status.get("version"),
        "replicas": number("replicas"),
        "available": number("availableReplicas"),
    })
}

/// `describe`.
pub(super) async fn describe(args: &NameArgs, output: Output) -> Result<(), Failure> {
    let gateway = gateway(&args.gateway)?;
    let name = FullName::parse(&args.name)?;
    let path = format!("/system/function/{}{}", name.name, name.query());
    let reply = gateway.ask(Method::GET, &path, None, WITHIN).await?;
    if reply.status == StatusCode::NOT_FOUND {
        return Err(absent(&gateway, "describe", &name));
    }
    let mut status = reply.json(&gateway, &format!("describe {}", name.path()))?;
    // A function that no host serves just now has a description all the same.
    let hosts = hosts(&gateway, &name).await.unwrap_or_else(|_| json!([]));
    if let Value::Object(status) = &mut status {
        status.insert("hosts".into(), hosts);
    }
    output.print(&status, || described(&status))
}

fn described(status: &Value) -> String {
    let keys = [
        ("name", "name"),
        ("owner", "owner"),
        ("version", "version"),
        ("image", "image"),
        ("createdAt", "created"),
        ("replicas", "replicas"),
        ("availableReplicas", "available"),
        ("invocationCount", "invocations"),
        ("limits", "limits"),
        ("envVars", "env"),
        ("labels", "labels"),
        ("annotations", "annotations"),
        ("constraints", "constraints"),
    ];
    let mut rows: Vec<(&str, String)> = Vec::new();
    for (key, title) in keys {
        if let Some(value) = status.get(key).filter(|value| !is_empty(value)) {
            rows.push((title, cell(Some(value))));
        }
    }
    for (n, host) in status["hosts"].as_array().into_iter().flatten().enumerate() {
        rows.push((if n == 0 { "hosts" } else { "" }, cell(host.get("peer_id"))));
    }
    pairs(&rows)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// `find`.
pub(super) async fn find(args: &NameArgs, output: Output) -> Result<(), Failure> {
    let gateway = gateway(&args.gateway)?;
    let name = FullName::parse(&args.name)?;
    let found = found(&gateway, &name).await?;
    output.print(&found, || {
        let hosts = found["hosts"].as_array().into_iter().flatten();
        let rows: Vec<_> = hosts.map(host_row).collect();
        table(["HOST", "RUNNING", "QUEUED", "RTT MS", "ADDRESSES"], &rows)
    })
}

/// A host's load is known once it has answered.
fn host_row(host: &Value) -> [String; 5] {
    let load = |used: &str, of: &str| match (&host["load"][used], &host["load"][of]) {
        (Value::Null, _) | (_, Value::Null) => "-".to_owned(),
        (used, of) => format!("{used}/{of}"),
    };
    let shown = |key: &str| cell(host.get(key));
    let (running, queued) = (load("running", "slots"), load("queued", "queue"));
    [shown("peer_id"), running, queued, shown("rtt_ms"), shown("addresses")]
}

async fn found(gateway: &Gateway, name: &FullName) -> Result<Value, Failure> {
    let path = format!("/network/functions/{}/hosts", name.path());
    let reply = gateway.ask(Method::GET, &path, None, WITHIN).await?;
    if reply.status == StatusCode::NOT_FOUND {
        return Err(absent(gateway, "find", name));
    }
    reply.json(gateway, &format!("find {}", name.path()))
}

async fn hosts(gateway: &Gateway, name: &FullName) -> Result<Value, Failure> {
    found(gateway, name).await.map(|mut found| found["hosts"].take())
}

/// `remove`.
pub(super) async fn remove(args: &NameArgs, output: Output) -> Result<(), Failure> {
    let gateway = gateway(&args.gateway)?;
    let name = FullName::parse(&args.name)?;
    let body = name.object("functionName");
    let reply = gateway.ask(Method::DELETE, "/system/functions", Some(&body), WITHIN).await?;
    if reply.status == StatusCode::NOT_FOUND {
        return Err(absent(&gateway, "remove", &name));
    }
    let full = name.path();
    reply.ok(&gateway, &format!("remove {full}"))?;
    output.print(&json!({ "name": full, "removed": true }), || format!("{full} removed"))
}

/// `scale`.
pub(super) async fn scale(args: &ScaleArgs, output: Output) -> Result<(), Failure> {
    let gateway = gateway(&args.gateway)?;
    let name = FullName::parse(&args.name)?;
    let mut body = name.object("serviceName");
    body["replicas"] = args.replicas.into();
    let path = format!("/system/scale-function/{}{}", name.name, name.query());
    let reply = gateway.ask(Method::POST, &path, Some(&body), WITHIN).await?;
    if reply.status == StatusCode::NOT_FOUND {
        return Err(absent(&gateway, "scale", &name));
    }
    let full = name.path();
    reply.ok(&gateway, &format!("scale {full}"))?;
    let wanted = json!({ "name": full, "replicas": args.replicas });
    output.print(&wanted, || format!("{full} wants {}", count(usize::from(args.replicas), "host")))
}

fn absent(gateway: &Gateway, doing: &str, name: &FullName) -> Failure {
    let (url, name) = (gateway.url(), name.path());
    Failure::failed(format!("cannot {doing} {name}: {url} knows no such function"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_carry_its_owner() {
        let owner =
            keys::owner_text(&keys::owner(&peerless_net::identity::Keypair::generate_ed25519()));
        let full = FullName::parse(&format!("echo.{owner}")).unwrap();
        assert_eq!(full.query(), format!("?namespace={owner}"));
        assert_eq!(full.object("functionName")["namespace"], owner);
        let bare = FullName::parse("echo").unwrap();
        assert_eq!((bare.path().as_str(), bare.query().as_str()), ("echo", ""));
        assert!(FullName::parse("echo.openfaas-fn").is_ok());
        for (bad, word) in [("Echo", "\"Echo\""), ("echo.me", "\"me\""), ("a/b", "\"a/b\"")] {
            let failure = FullName::parse(bad).unwrap_err();
            assert!(failure.exit == 2 && failure.message.starts_with(word), "{failure}");
        }
    }

    #[test]
    fn a_function_in_the_list_has_its_zeros() {
        let status = json!({"name": "echo", "namespace": "k51", "replicas": 3, "version": 7});
        let expected = json!({
            "name": "echo", "owner": "k51", "version": 7, "replicas": 3, "available": 0
        });
        assert_eq!(listed(&status), expected);
    }
}
