//! How messages, effects and events are shown: as briefly as a reader can still follow.

use std::fmt::Debug;

use peerless_core::{
    Answer, Content, Decline, Effect, Ending, Event, Item, ItemKey, Load, Message, Note, Query,
    Rank, Record, Refusal, Request, Target,
};

use super::peer::{P, shown};

pub fn list<T: Debug>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", items.join(" "))
}

pub fn record(record: &Record) -> String {
    let removed = if record.spec.is_none() { " removed" } else { "" };
    format!("{} v{}{removed}", shown(&record.function), record.version)
}

fn records<T: std::borrow::Borrow<Record>>(records: &[T]) -> String {
    let records: Vec<String> = records.iter().map(|r| record(r.borrow())).collect();
    format!("[{}]", records.join(", "))
}

fn versions(versions: &[(peerless_core::Name, u64)]) -> String {
    let all: Vec<String> = versions.iter().map(|(n, v)| format!("{} v{v}", shown(n))).collect();
    format!("[{}]", all.join(", "))
}

fn ranks(ranks: &[(peerless_core::Name, Rank)]) -> String {
    let removed = |rank: &Rank| if rank.what == Content::Removed { " removed" } else { "" };
    let all = ranks.iter().map(|(n, r)| format!("{} v{}{}", shown(n), r.version, removed(r)));
    format!("[{}]", all.collect::<Vec<_>>().join(", "))
}

fn target(target: &Target<P>) -> String {
    match target {
        Target::Peer(peer) => format!("{peer:?}"),
        Target::Name(name) => shown(name),
    }
}

pub fn message(message: &Message<P>) -> String {
    match message {
        Message::Query(_, asked) => query(asked),
        Message::Answer(_, given) => answer(given),
    }
}

fn query(query: &Query<P>) -> String {
    match query {
        Query::Find(wanted) => format!("Find {}", target(wanted)),
        Query::Hosts(name) => format!("Hosts {}", shown(name)),
        Query::Provide(name, None) => format!("Provide {}", shown(name)),
        Query::Provide(_, Some(what)) => format!("Provide {}", record(what)),
        Query::Withdraw(name) => format!("Withdraw {}", shown(name)),
        Query::Store(what) => format!("Store {}", record(what)),
        Query::Offer { record: what, waive } => {
            format!("Offer {}{}", record(what), if *waive { ", busier or not" } else { "" })
        }
        Query::Confirm { function, version, sources, mates } => format!(
            "Confirm {} v{version}, sources {}, mates {}",
            shown(function),
            list(sources),
            list(mates)
        ),
        Query::Release { function, version } => format!("Release {} v{version}", shown(function)),
        Query::Placed { function, version, failure: None } => {
            format!("Placed {} v{version}", shown(function))
        }
        Query::Placed { function, version, failure: Some(why) } => {
            format!("Placed {} v{version} failed: {why:?}", shown(function))
        }
        Query::Probe(asked) => format!("Probe {}", versions(asked)),
        Query::Sync { records: new, have, range, .. } => match range {
            Some(_) => format!("Sync have {}, new {}", ranks(have), records(new)),
            None => format!("Sync new {}", records(new)),
        },
    }
}

fn answer(answer: &Answer<P>) -> String {
    match answer {
        Answer::Found { closer, hosts, record: what, .. } => {
            let hosts = match (hosts.is_empty(), what) {
                (true, None) => String::new(),
                (_, None) => format!(", hosts {}", list(hosts)),
                (_, Some(what)) => format!(", hosts {} of {}", list(hosts), record(what)),
            };
            format!("Found {}{hosts}", list(closer))
        }
        Answer::Stored { kept, newer, hosts } => {
            let newer = newer.as_ref().map(|newer| format!(", newer {}", record(newer)));
            let hosts = (!hosts.is_empty()).then(|| format!(", hosts {}", list(hosts)));
            let kept = if *kept { "" } else { " not" };
            format!("Stored{kept}{}{}", newer.unwrap_or_default(), hosts.unwrap_or_default())
        }
        Answer::Offered { decline: None, .. } => "Offered: accepted".into(),
        Answer::Offered { decline: Some(why), .. } => format!("Offered: declined, {why:?}"),
        Answer::Noted(true) => "Noted".into(),
        Answer::Noted(false) => "Noted: not known here".into(),
        Answer::Probed { serving, .. } => format!("Probed {}", versions(serving)),
        Answer::Synced { records: newer, want, more } => {
            let want: Vec<String> = want.iter().map(shown).collect();
            let more = if *more { ", more" } else { "" };
            format!("Synced {}, want [{}]{more}", records(newer), want.join(" "))
        }
    }
}

pub fn request(request: &Request<P>) -> String {
    match request {
        Request::Meet(contact) => format!("wants to meet contact {contact}"),
        Request::Lookup(wanted) => format!("looks up {}", target(wanted)),
        Request::Hosts(name) => format!("asks for the hosts of {}", shown(name)),
        Request::Deploy(what) => {
            let (least, most) = what.spec.as_ref().map_or((0, 0), |spec| spec.replicas);
            format!("deploys {} on {least} to {most}", record(what))
        }
        Request::Remove(what) => format!("removes {}", record(what)),
        Request::List => "lists".into(),
        Request::Drain => "leaves".into(),
        Request::Call { function, kept, idempotent, .. } => {
            let kept = if *kept { "" } else { ", body not kept" };
            let twice = if *idempotent { ", may run twice" } else { "" };
            format!("calls {}{kept}{twice}", shown(function))
        }
        Request::Many { function, .. } => format!("calls {} on many items", shown(function)),
        Request::Cancel(ticket) => format!("cancels #{ticket}"),
    }
}

pub fn event(event: &Event<P>) -> String {
    match event {
        Event::Met(peer) => format!("met {peer:?}"),
        Event::Found { peers, cost } => {
            let peers: Vec<String> =
                peers.iter().map(|(p, hops)| format!("{p:?}/{hops}")).collect();
            format!("found [{}], {} rpcs, {} rounds", peers.join(" "), cost.rpcs, cost.rounds)
        }
        Event::Hosts { record: what, hosts, cost } => {
            let hosts: Vec<P> = hosts.iter().map(|(host, _)| *host).collect();
            let (hosts, cost) = (list(&hosts), (cost.rpcs, cost.rounds));
            format!("{} on {hosts}, {} rpcs, {} rounds", record(what), cost.0, cost.1)
        }
        Event::Deployed { hosts, declined } => {
            format!("deployed on {}{}", list(hosts), reasons(declined))
        }
        Event::Removed => "removed".into(),
        Event::Drained => "drained".into(),
        Event::Listed(all) => {
            let all: Vec<String> =
                all.iter().map(|(what, n)| format!("{} on {n}", record(what))).collect();
            format!("listed [{}]", all.join(", "))
        }
        Event::Head { host, attempts, .. } => format!("head from {host:?}, attempt {attempts}"),
        Event::Done => "done".into(),
        Event::Item { index, result: Ok(answer), attempts } => {
            let again =
                if *attempts == 1 { String::new() } else { format!(", attempts {attempts}") };
            format!("item {index}: {} by {:?}{again}", answer.status, answer.host)
        }
        Event::Item { index, result: Err(why), attempts } => {
            format!("item {index}: failed, {why:?}, attempts {attempts}")
        }
        Event::Finished(sum) => format!(
            "finished: {} items, {} succeeded, {} failed, {} unknown, {} attempts ({} hedged), {} hosts",
            sum.items, sum.succeeded, sum.failed, sum.unknown, sum.attempts, sum.hedged, sum.hosts
        ),
        Event::Cancelled(true) => "cancelled".into(),
        Event::Cancelled(false) => "nothing to cancel".into(),
        Event::Failed(why) => format!("failed: {why:?}"),
        Event::NotPlaced(declined) => format!("not placed: {declined:?}"),
    }
}

fn reasons(declined: &[(P, Decline)]) -> String {
    if declined.is_empty() {
        return String::new();
    }
    let all: Vec<String> = declined.iter().map(|(p, why)| format!("{p:?} {why:?}")).collect();
    format!(", declined [{}]", all.join(", "))
}

pub fn ending(how: &Ending) -> String {
    match how {
        Ending::Refused { why: Refusal::Busy, load: Some(load), .. } => {
            format!("refused, busy {}", busy(*load))
        }
        Ending::Refused { why, .. } => format!("refused, {why:?}"),
        Ending::NotSent { spent: false } => "not sent".into(),
        Ending::NotSent { spent: true } => "not sent, body spent".into(),
        other => format!("{other:?}"),
    }
}

/// Running and waiting calls, each of how many that fit.
pub fn busy(load: Load) -> String {
    format!("{}/{}+{}/{}", load.running, load.slots, load.queued, load.queue)
}

fn note(note: &Note<P>) -> String {
    match note {
        Note::Searched { target: wanted, found, cost, .. } => format!(
            "searched {}: {found} found, {} rpcs, {} timeouts, {} rounds",
            target(wanted),
            cost.rpcs,
            cost.timeouts,
            cost.rounds
        ),
        Note::Attempt { item, host, reason, .. } => format!("{reason:?} of {item} on {host:?}"),
        Note::Declined { function, peer, why } => {
            format!("{peer:?} declined {}: {why:?}", shown(function))
        }
        Note::Lost { function, peer } => format!("lost {peer:?}, host of {}", shown(function)),
        Note::Repair { function, rank, live, wanted } => {
            format!("repairs {}: {live} of {wanted} live, rank {rank}", shown(function))
        }
        Note::Suspects { failed: 0, .. } => "woken late, suspects itself".into(),
        Note::Suspects { failed, asked } => {
            format!("suspects itself: {failed} of {asked} do not answer")
        }
        Note::HandsOn { function, full } => {
            let why = if *full { "too full" } else { "a closer one is emptier" };
            format!("looks for another host of {}: {why}", shown(function))
        }
        Note::HandedOn { function, to } => format!("hands {} on to {to:?}", shown(function)),
        Note::Retire { function, live } => format!("retires from {}: {live} live", shown(function)),
    }
}

/// What an effect other than a message or call looks like; `None`: not worth a line.
pub fn effect(effect: &Effect<P>) -> Option<String> {
    Some(match effect {
        Effect::Tell(ticket, told) => format!("tells #{ticket}: {}", event(told)),
        Effect::Dial { contact, .. } => format!("dials contact {contact}"),
        Effect::Refuse { call, why, load } => format!("refuses c{call}: {why:?} {}", busy(*load)),
        Effect::Run { call, function, version, .. } => {
            format!("runs c{call}: {} v{version}", shown(function))
        }
        Effect::Cancel { .. } => "stops a run".into(),
        Effect::Install { record: what, .. } => format!("installs {}", record(what)),
        Effect::Uninstall { function, version } => {
            format!("uninstalls {} v{version}", shown(function))
        }
        Effect::Fetch { digest, from, .. } => {
            let [version, letter, ..] = digest.0;
            let version = version >> 4;
            let letter = char::from(letter);
            match from {
                Some(peer) => format!("fetches {letter}.wasm v{version} from {peer:?}"),
                None => format!("looks for {letter}.wasm v{version}"),
            }
        }
        Effect::Keep { item: Item::Record(what), .. } => format!("keeps record {}", record(what)),
        Effect::Keep { item: Item::Hosting(what), .. } => {
            format!("keeps that it hosts {}", record(what))
        }
        Effect::Renew(what) => format!("has {} signed again", record(what)),
        Effect::Forget(ItemKey::Record(name)) => format!("forgets record {}", shown(name)),
        Effect::Forget(ItemKey::Hosting(name)) => format!("forgets that it hosts {}", shown(name)),
        Effect::Want { ticket, n } => format!("wants {n} items of #{ticket}"),
        // What a core searches for on its own shows in its letters.
        Effect::Note(Note::Searched { ticket: None, .. })
        | Effect::Send { .. }
        | Effect::Dispatch { .. }
        | Effect::Abort { .. }
        | Effect::Respond { .. }
        | Effect::WakeAt(_) => return None,
        Effect::Note(noted) => format!("({})", note(noted)),
    })
}
