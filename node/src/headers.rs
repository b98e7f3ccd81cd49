//! What a call between nodes carries beside the user's own headers.

use std::time::Duration;

use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use peerless_core::{Load, Name, Refusal, Span, Stay};

use crate::bytes32::{hex, unhex32};

/// The function's name, in hexadecimal.
pub(crate) const FUNCTION: HeaderName = HeaderName::from_static("x-peerless-function");
/// Milliseconds that are left for the call.
const LEFT: HeaderName = HeaderName::from_static("x-peerless-left-ms");
/// How busy the host is.
const LOAD: HeaderName = HeaderName::from_static("x-peerless-load");
/// Microseconds that the call waited at the host, and ran.
const STAY: HeaderName = HeaderName::from_static("x-peerless-stay-us");
/// Why the host did not run it.
const REFUSED: HeaderName = HeaderName::from_static("x-peerless-refused");
/// In place of a call: the module with this digest, in hexadecimal.
pub(crate) const FETCH: HeaderName = HeaderName::from_static("x-peerless-fetch");
/// Which host answered; for users.
pub(crate) const HOST: HeaderName = HeaderName::from_static("x-peerless-host");
/// How many attempts it took; for users.
pub(crate) const ATTEMPTS: HeaderName = HeaderName::from_static("x-peerless-attempts");
/// OpenFaaS's name for a call.
pub(crate) const CALL_ID: HeaderName = HeaderName::from_static("x-call-id");
/// When the gateway took the call; OpenFaaS's.
pub(crate) const START_TIME: HeaderName = HeaderName::from_static("x-start-time");
/// A caller's deadline; OpenFaaS's.
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("x-timeout");

const OURS: &str = "x-peerless-";

/// Takes out what belongs to one connection, and what only nodes may say.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(OURS)).cloned().collect();
    let hop = [
        CONNECTION,
        HeaderName::from_static("keep-alive"),
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        HeaderName::from_static("proxy-connection"),
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    for name in hop.into_iter().chain(named).chain(ours) {
        headers.remove(name);
    }
}

/// Marks a request as a call of a function.
pub(crate) fn set_call(headers: &mut HeaderMap, function: &Name, left: Duration) {
    headers.insert(FUNCTION, text(&hex(&function.0)));
    headers.insert(LEFT, text(&left.as_millis().to_string()));
}

/// Which function a request calls, and how much time is left for it.
pub(crate) fn get_call(headers: &HeaderMap) -> Option<(Name, Duration)> {
    let function = unhex32(headers.get(FUNCTION)?.to_str().ok()?)?;
    let left: u64 = headers.get(LEFT)?.to_str().ok()?.parse().ok()?;
    // An hour more or less makes no difference beyond a day, and sums stay in range.
    Some((Name(function), Duration::from_millis(left.min(86_400_000))))
}

pub(crate) fn set_load(headers: &mut HeaderMap, load: &Load) {
    let Load { slots, running, queued, queue, hosted, room } = load;
    headers.insert(LOAD, text(&format!("{slots},{running},{queued},{queue},{hosted},{room}")));
}

pub(crate) fn get_load(headers: &HeaderMap) -> Option<Load> {
    let mut numbers = headers.get(LOAD)?.to_str().ok()?.split(',').map(|text| text.parse().ok());
    let mut next = || numbers.next().flatten();
    Some(Load {
        slots: next()?,
        running: next()?,
        queued: next()?,
        queue: next()?,
        hosted: next()?,
        room: next()?,
    })
}

pub(crate) fn set_stay(headers: &mut HeaderMap, stay: Stay) {
    let [waited, ran] = [stay.waited, stay.ran].map(|span| span.0 / 1_000);
    headers.insert(STAY, text(&format!("{waited},{ran}")));
}

pub(crate) fn get_stay(headers: &HeaderMap) -> Option<Stay> {
    let (waited, ran) = headers.get(STAY)?.to_str().ok()?.split_once(',')?;
    let span = |text: &str| Some(Span(text.parse::<u64>().ok()?.saturating_mul(1_000)));
    Some(Stay { waited: span(waited)?, ran: span(ran)? })
}

pub(crate) fn set_refusal(headers: &mut HeaderMap, why: Refusal) {
    let why = match why {
        Refusal::Busy => "busy",
        Refusal::NotHosted => "not-hosted",
        Refusal::Late => "late",
    };
    headers.insert(REFUSED, HeaderValue::from_static(why));
}

pub(crate) fn get_refusal(headers: &HeaderMap) -> Option<Refusal> {
    Some(match headers.get(REFUSED)?.as_bytes() {
        b"not-hosted" => Refusal::NotHosted,
        b"late" => Refusal::Late,
        _ => Refusal::Busy,
    })
}

/// A header's value from text of ours, which has only printable ASCII.
pub(crate) fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("it has only printable ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_carries_is_read_back() {
        let mut headers = HeaderMap::new();
        let (name, left) = (Name([7; 32]), Duration::from_millis(1500));
        set_call(&mut headers, &name, left);
        let load = Load { slots: 1, running: 2, queued: 3, queue: 4, hosted: 5, room: 6 };
        set_load(&mut headers, &load);
        let stay = Stay { waited: Span::ms(7), ran: Span(8_000) };
        set_stay(&mut headers, stay);
        for why in [Refusal::Busy, Refusal::NotHosted, Refusal::Late] {
            set_refusal(&mut headers, why);
            assert_eq!(get_refusal(&headers), Some(why));
        }
        assert_eq!(get_call(&headers), Some((name, left)));
        assert_eq!(get_load(&headers), Some(load));
        assert_eq!(get_stay(&headers), Some(stay));
        headers.insert("connection", HeaderValue::from_static("close, x-mine"));
        headers.insert("x-mine", HeaderValue::from_static("1"));
        headers.insert("x-yours", HeaderValue::from_static("1"));
        strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-yours"]);
    }
}
