//! What a deployment asks for: OpenFaaS's document, with our fields as annotations.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use super::modules::parse_digest;
use super::{ApiError, DEFAULT_NAMESPACE, FunctionRef, resolve};
use crate::node::Node;
use crate::record::{self, What};
use crate::units::{parse_duration, parse_size};

const MEMORY_BYTES: u64 = 128 << 20;
const TIMEOUT: Duration = Duration::from_mins(1);
const REPLICAS: (u16, u16) = (3, 5);

/// Annotations that say what OpenFaaS has no field for.
const REPLICAS_ANNOTATION: &str = "peerless.replicas";
const TIMEOUT_ANNOTATION: &str = "peerless.timeout";
const IDEMPOTENT_ANNOTATION: &str = "peerless.idempotent";

/// OpenFaaS's labels for the number of replicas.
const MIN_LABEL: &str = "com.openfaas.scale.min";
const MAX_LABEL: &str = "com.openfaas.scale.max";

/// OpenFaaS's `FunctionDeployment`. What has no meaning here must be empty.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Deployment {
    service: String,
    pub(super) image: String,
    namespace: Option<String>,
    env_process: Option<String>,
    env_vars: Option<BTreeMap<String, String>>,
    constraints: Option<Vec<String>>,
    secrets: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    limits: Option<Resources>,
    requests: Option<Resources>,
    /// A guest has no file system at all.
    #[serde(rename = "readOnlyRootFilesystem")]
    _read_only_root_filesystem: Option<bool>,
    /// Deprecated by OpenFaaS.
    #[serde(rename = "registryAuth")]
    _registry_auth: Option<String>,
    /// Deprecated by OpenFaaS.
    #[serde(rename = "network")]
    _network: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    memory: Option<String>,
    cpu: Option<String>,
}

impl Deployment {
    /// The function, and what its record shall say; `size` is the module's.
    pub(super) fn read(self, node: &Node, size: u64) -> Result<(FunctionRef, What), ApiError> {
        let function = own(node, &self.service, self.namespace.as_deref())?;
        refuse("envProcess", self.env_process.as_deref().unwrap_or(""))?;
        refuse("secrets", &self.secrets.unwrap_or_default().join(","))?;
        if let Some(requests) = self.requests {
            refuse("requests.memory", requests.memory.as_deref().unwrap_or(""))?;
            refuse("requests.cpu", requests.cpu.as_deref().unwrap_or(""))?;
        }
        let limits = self.limits.unwrap_or(Resources { memory: None, cpu: None });
        refuse("limits.cpu", limits.cpu.as_deref().unwrap_or(""))?;
        let memory = limits.memory.filter(|text| !text.is_empty());
        let memory_bytes = memory.map_or(Ok(MEMORY_BYTES), |text| parse_size(&text));
        let memory_bytes =
            memory_bytes.map_err(|why| ApiError::bad(format!("limits.memory: {why}")))?;
        let labels = self.labels.unwrap_or_default();
        let annotations = self.annotations.unwrap_or_default();
        let constraints = self.constraints.unwrap_or_default();
        if let Some(bad) = constraints.iter().find(|label| !record::is_label(label)) {
            return Err(ApiError::bad(format!("constraints: {bad:?} is not KEY=VALUE")));
        }
        if constraints.len() > record::CONSTRAINTS_MAX {
            return Err(ApiError::bad("constraints: there are too many"));
        }
        let what = What {
            digest: image_digest(&self.image)?,
            size,
            timeout: timeout(&annotations)?,
            replicas: replicas(&annotations, &labels)?,
            idempotent: idempotent(&annotations)?,
            memory_bytes,
            env: self.env_vars.unwrap_or_default(),
            labels,
            annotations,
            constraints,
        };
        Ok((function, what))
    }
}

fn refuse(field: &str, value: &str) -> Result<(), ApiError> {
    if value.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad(format!("{field}: WebAssembly modules have no use for it")))
}

/// The module that `wasm:sha256:HEX` names.
pub(super) fn image_digest(image: &str) -> Result<peerless_core::Digest, ApiError> {
    image.strip_prefix("wasm:").and_then(parse_digest).ok_or_else(|| {
        ApiError::bad(format!("image: {image:?} is not wasm:sha256:HEX of a module put here"))
    })
}

fn timeout(annotations: &BTreeMap<String, String>) -> Result<Duration, ApiError> {
    let Some(text) = annotations.get(TIMEOUT_ANNOTATION) else {
        return Ok(TIMEOUT);
    };
    let timeout = parse_duration(text)
        .map_err(|why| ApiError::bad(format!("{TIMEOUT_ANNOTATION}: {why}")))?;
    if timeout < Duration::from_millis(1) || timeout > Duration::from_hours(24) {
        let why = format!("{TIMEOUT_ANNOTATION}: {text:?} is not between 1ms and 24h");
        return Err(ApiError::bad(why));
    }
    Ok(timeout)
}

/// Ours, else OpenFaaS's labels, else the default.
fn replicas(
    annotations: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> Result<(u16, u16), ApiError> {
    let most = record::REPLICAS_MAX;
    let possible = |(min, max): (u16, u16)| 1 <= min && min <= max && max <= most;
    if let Some(text) = annotations.get(REPLICAS_ANNOTATION) {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let range = min.parse().ok().zip(max.parse().ok());
        return range.filter(|range| possible(*range)).ok_or_else(|| {
            let expected = format!("expected MIN or MIN..MAX, such as 3..5, of 1 to {most}");
            ApiError::bad(format!("{REPLICAS_ANNOTATION}: {text:?}: {expected}"))
        });
    }
    let label = |key: &str| {
        let number = |text: &String| {
            let number = text.parse().ok().filter(|n| (1..=most).contains(n));
            number.ok_or_else(|| {
                ApiError::bad(format!("label {key}: {text:?}: expected a number of 1 to {most}"))
            })
        };
        labels.get(key).map(number).transpose()
    };
    match (label(MIN_LABEL)?, label(MAX_LABEL)?) {
        (None, None) => Ok(REPLICAS),
        (None, Some(max)) => Ok((1, max)),
        (Some(min), None) => Ok((min, min.max(REPLICAS.1))),
        (Some(min), Some(max)) if min <= max => Ok((min, max)),
        (Some(min), Some(max)) => {
            Err(ApiError::bad(format!("label {MIN_LABEL}: {min} is more than {MAX_LABEL}, {max}")))
        }
    }
}

fn idempotent(annotations: &BTreeMap<String, String>) -> Result<Option<bool>, ApiError> {
    match annotations.get(IDEMPOTENT_ANNOTATION).map(String::as_str) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => {
            let why = format!("{IDEMPOTENT_ANNOTATION}: {other:?} is neither true nor false");
            Err(ApiError::bad(why))
        }
    }
}

/// A function that this node's owner may change.
pub(super) fn own(
    node: &Node,
    name: &str,
    namespace: Option<&str>,
) -> Result<FunctionRef, ApiError> {
    let bare = name.rsplit_once('.').map_or(name, |(bare, _)| bare);
    if !record::is_name(bare) {
        let expected = format!(
            "expected lower-case letters, digits and inner hyphens, at most {}",
            record::NAME_BYTES_MAX
        );
        return Err(ApiError::bad(format!("service: {bare:?} is no function's name: {expected}")));
    }
    let function = resolve(node, name, namespace).map_err(|_| {
        let given = name.rsplit_once('.').map_or(namespace.unwrap_or(""), |(_, inner)| inner);
        let expected = format!("expected {DEFAULT_NAMESPACE} or an owner, k51…");
        ApiError::bad(format!("namespace: {given:?} is no owner: {expected}"))
    })?;
    if function.owner != node.owner {
        let why = format!("{name} is another owner's");
        return Err(ApiError::new(StatusCode::FORBIDDEN, "not-owner", why));
    }
    Ok(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_one_that_a_record_can_hold() {
        let of = |text: &str| timeout(&[(TIMEOUT_ANNOTATION.to_owned(), text.to_owned())].into());
        assert_eq!(of("1ms").unwrap(), Duration::from_millis(1));
        assert_eq!(of("24h").unwrap(), Duration::from_hours(24));
        for text in ["0s", "999us", "25h"] {
            let error = of(text).unwrap_err().error;
            assert!(error.ends_with("is not between 1ms and 24h"), "{error}");
        }
    }

    #[test]
    fn replicas_are_ours_or_openfaas_s() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let none = map(&[]);
        assert_eq!(replicas(&none, &none).unwrap(), (3, 5));
        assert_eq!(replicas(&map(&[(REPLICAS_ANNOTATION, "2..4")]), &none).unwrap(), (2, 4));
        assert_eq!(replicas(&none, &map(&[("com.openfaas.scale.min", "2")])).unwrap(), (2, 5));
        assert_eq!(replicas(&none, &map(&[("com.openfaas.scale.min", "9")])).unwrap(), (9, 9));
        assert_eq!(replicas(&none, &map(&[("com.openfaas.scale.max", "2")])).unwrap(), (1, 2));
        let error = replicas(&map(&[(REPLICAS_ANNOTATION, "0")]), &none).unwrap_err().error;
        assert!(error.starts_with("peerless.replicas: \"0\": expected MIN or MIN..MAX"), "{error}");
        for (labels, words) in [
            (&[(MIN_LABEL, "0")][..], "label com.openfaas.scale.min: \"0\": expected a number"),
            (&[(MAX_LABEL, "x")], "label com.openfaas.scale.max: \"x\": expected a number"),
            (
                &[(MIN_LABEL, "3"), (MAX_LABEL, "2")],
                "scale.min: 3 is more than com.openfaas.scale.max, 2",
            ),
        ] {
            let error = replicas(&none, &map(labels)).unwrap_err().error;
            assert!(error.contains(words), "{error}");
        }
    }
}
