//! The world's side of each core: letters, clocks, disks, runtimes, and calls between hosts.

use super::*;

impl World {
    /// Letters on their way.
    pub fn letters(&self) -> usize {
        self.queue.len()
    }

    /// Delivers a letter; one that belongs to a stream, such as a call's, only after those that were
    /// sent before it.
    pub fn deliver_at(&mut self, at: usize) {
        let letter = &self.queue[at];
        let stream = |other: &Letter| !matches!(other.input, Input::Heard { .. });
        let first =
            |other: &Letter| stream(other) && (other.from, other.to) == (letter.from, letter.to);
        let first = self.queue.iter().position(first).filter(|_| stream(letter));
        let at = first.unwrap_or(at);
        let letter = &self.queue[at];
        if !stream(letter) && self.is_parted(letter.from, letter.to) {
            return self.lose_at(at, true);
        }
        let letter = self.queue.remove(at).expect("it was just seen");
        if self.nodes.contains_key(&letter.to) {
            self.feed(letter.to, letter.input);
        } else if let Some(lie) = self.liars.get(&letter.to)
            && let Input::Heard { from, message: Message::Query(tag, query) } = letter.input
            && let Some(answer) = lie(&query)
        {
            self.send(letter.to, from, Message::Answer(tag, answer));
        }
    }

    /// Loses a letter, if it is one that can be lost. Who sent a query may be told so.
    pub fn lose_at(&mut self, at: usize, told: bool) {
        let letter = &self.queue[at];
        let (from, to) = (letter.from, letter.to);
        let Input::Heard { message, .. } = &letter.input else {
            return;
        };
        let tag = match message {
            Message::Query(tag, _) => Some(*tag),
            Message::Answer(..) => None,
        };
        self.queue.remove(at);
        if let Some(tag) = tag.filter(|_| told && self.nodes.contains_key(&from)) {
            self.feed(from, Input::Failed { tag });
            self.feed(from, Input::Unreached { peer: to });
        }
    }

    pub(super) fn deliver_all(&mut self) {
        let mut letters = 0;
        while !self.queue.is_empty() {
            self.deliver_at(0);
            letters += 1;
            assert!(letters < 20_000, "law: an instant ends");
        }
    }

    /// When the next run ends or the next peer wants to be woken.
    pub fn next_due(&self) -> Option<Time> {
        let runs = |node: &Node| node.runs.iter().map(|(at, ..)| *at).min();
        self.nodes.values().filter_map(|node| node.wake.into_iter().chain(runs(node)).min()).min()
    }

    /// Lets what is due first happen.
    pub fn happen_next(&mut self) {
        let due = self.next_due().expect("world: something is due");
        self.flush();
        self.now = self.now.max(due);
        let peers: Vec<P> = self.nodes.keys().copied().collect();
        for peer in peers {
            let node = self.node(peer);
            if let Some(at) = node.runs.iter().position(|(at, ..)| *at == due) {
                let (_, job, call) = node.runs.remove(at);
                self.finish_run(peer, job, call);
                return;
            }
            if node.wake == Some(due) {
                node.wake = None;
                self.feed(peer, Input::Wake);
                return;
            }
        }
    }

    fn finish_run(&mut self, host: P, job: Tag, id: u64) {
        self.feed(host, Input::RanHead { job });
        self.feed(host, Input::RanEnd { job });
        if let Some(call) = self.calls.remove(&id) {
            self.end_attempt(host, call.caller, call.attempt, Ending::Complete);
        }
    }

    pub(super) fn end_attempt(&mut self, host: P, caller: P, attempt: Tag, how: Ending) {
        let is_wrong = u8::from(self.wrong.contains(&host.0));
        let body = (how == Ending::Complete).then_some(Digest([is_wrong; 32]));
        self.post(host, caller, Input::Ended { attempt, how, body });
    }

    pub(super) fn post(&mut self, from: P, to: P, input: Input<P>) {
        self.queue.push_back(Letter { from, to, input });
    }

    pub(super) fn feed(&mut self, peer: P, input: Input<P>) {
        if let (Input::Ended { how, .. }, true) = (&input, self.nodes.contains_key(&peer))
            && *how != Ending::Complete
        {
            self.line(&format!("{peer:?} is told: {}", text::ending(how)));
        }
        let (now, config) = (self.now, self.config.clone());
        let node = self.node(peer);
        node.laws.input(now, &input);
        let mut effects = Vec::new();
        node.core.handle(input, &mut Turn::new(now, &config, &mut effects));
        assert!(node.core.check(), "law: the invariants hold");
        for effect in effects {
            self.node(peer).laws.effect(&effect);
            self.perform(peer, effect);
        }
        if let Some(breach) = self.nodes[&peer].laws.breaches().first() {
            panic!("{breach}\n{}", self.text);
        }
    }

    fn perform(&mut self, me: P, effect: Effect<P>) {
        if let Some(line) = text::effect(&effect) {
            self.reason_or_line(me, &effect, &line);
        }
        match effect {
            Effect::Send { to, message } => self.send(me, to, message),
            Effect::Dispatch { attempt, item, to, function, deadline, .. } => {
                self.dispatch(me, attempt, item, to, function, deadline);
            }
            Effect::Dial { tag, contact } => self.dial(me, tag, contact),
            Effect::Abort { attempt } => self.abort(me, attempt),
            Effect::Refuse { call, why, load } => {
                if let Some(Call { caller, attempt, .. }) = self.calls.remove(&call) {
                    let how = Ending::Refused { why, load: Some(load), spent: false };
                    self.end_attempt(me, caller, attempt, how);
                }
            }
            Effect::Run { job, call, .. } => {
                let ends = self.now + self.slow.get(&me.0).copied().unwrap_or(self.service);
                self.node(me).runs.push((ends, job, call));
            }
            Effect::Respond { call, load, stay } => {
                if let Some(call) = self.calls.get_mut(&call) {
                    call.headed = true;
                    let (to, attempt) = (call.caller, call.attempt);
                    let (load, stay) = (Some(load), Some(stay));
                    self.post(me, to, Input::Head { attempt, status: 200, load, stay });
                }
            }
            Effect::Cancel { job } => {
                self.node(me).runs.retain(|(_, other, _)| *other != job);
                self.post(me, me, Input::RanEnd { job });
            }
            Effect::Install { tag, record } => {
                let (function, version) = (record.function, record.version);
                self.post(me, me, Input::Installed { tag, function, version, ok: true });
            }
            Effect::Fetch { tag, digest, from, .. } => self.fetch(me, tag, digest, from),
            Effect::Keep { tag, item } => {
                self.disk(me).items.insert(item.key(), item);
                self.post(me, me, Input::Kept { tag });
            }
            Effect::Forget(key) => drop(self.disk(me).items.remove(&key)),
            Effect::WakeAt(at) => self.node(me).wake = Some(at),
            Effect::Want { ticket, n } => {
                let left = self.node(me).feeds.get_mut(&ticket).expect("world: it is a manycall");
                let n = n.min(*left);
                *left -= n;
                let ended = *left == 0;
                self.post(me, me, Input::Items { ticket, n, ended });
            }
            Effect::Tell(ticket, Event::Item { .. }) => {
                self.post(me, me, Input::Taken { ticket, n: 1 });
            }
            Effect::Renew(record) => self.sign_again(me, &record),
            Effect::Tell(..) | Effect::Uninstall { .. } | Effect::Note(_) => {}
        }
    }

    /// The owner's key is on every machine of its.
    fn sign_again(&mut self, me: P, record: &Record) {
        let ticket = self.next + 1;
        self.next = ticket;
        let expires = self.now + Span::minutes(90 * 24 * 60);
        let record = Record { version: record.version + 1, expires, ..record.clone() };
        self.post(me, me, Input::Ask(ticket, Request::Deploy(record.into())));
    }

    fn is_parted(&self, one: P, other: P) -> bool {
        self.apart.contains(&one.0) != self.apart.contains(&other.0)
    }

    /// A contact has the number of the peer that is there.
    fn dial(&mut self, me: P, tag: Tag, contact: Contact) {
        let peer = P(contact as u8);
        let is_there = self.nodes.contains_key(&peer) && !self.is_parted(me, peer);
        let full = self.full.get_mut(&peer.0).filter(|left| **left > 0);
        let outcome = match full {
            _ if !is_there => Dialled::Nobody,
            Some(left) => {
                *left -= 1;
                Dialled::Busy
            }
            None => Dialled::Met(peer),
        };
        self.line(&format!("{me:?} is told of contact {contact}: {outcome:?}"));
        self.post(me, me, Input::Dialled { tag, outcome });
        if outcome == Dialled::Met(peer) {
            self.post(me, peer, Input::Met { peer: me, serves: true, group: None, relayed: false });
        }
    }

    fn disk(&mut self, peer: P) -> &mut Disk {
        self.disks.get_mut(&peer).expect("world: a peer that is up has a disk")
    }

    pub(super) fn send(&mut self, me: P, to: P, message: Message<P>) {
        let said = text::message(&message);
        match &mut self.sending {
            // The same to several peers is one line.
            Some((from, line)) if *from == me && line.ends_with(&format!("  {said}")) => {
                let at = line.len() - said.len() - 2;
                line.insert_str(at, &format!(" {to:?}"));
            }
            _ => {
                self.flush();
                self.sending = Some((me, format!("{me:?} → {to:?}  {said}")));
            }
        }
        self.post(me, to, Input::Heard { from: me, message });
    }

    fn dispatch(
        &mut self,
        caller: P,
        attempt: Tag,
        item: u64,
        host: P,
        function: Name,
        deadline: Time,
    ) {
        let id = self.next + 1;
        self.next = id;
        let reason = std::mem::replace(&mut self.reason, Reason::First);
        let again = match reason {
            Reason::First => "",
            Reason::Refused => ", refused before",
            Reason::Retry => ", failed before",
            Reason::Straggler => ", since it takes long",
            Reason::Hedge => ", since no answer has begun",
            Reason::Quorum => ", for a quorum",
        };
        self.line(&format!(
            "{caller:?} ⇒ {host:?}  call c{id}: {} item {item}{again}",
            shown(&function)
        ));
        if self.nodes.contains_key(&host) {
            self.calls.insert(id, Call { caller, attempt, host, headed: false });
            let left = deadline.since(self.now);
            self.post(caller, host, Input::Arrived { call: id, from: caller, function, left });
        } else {
            self.end_attempt(host, caller, attempt, Ending::NotSent { spent: false });
        }
    }

    /// What the host had to say about an aborted call does not arrive any more.
    fn abort(&mut self, caller: P, attempt: Tag) {
        self.line(&format!("{caller:?} aborts a call"));
        let of_it = |input: &Input<P>| match input {
            Input::Head { attempt: a, .. } | Input::Ended { attempt: a, .. } => *a == attempt,
            _ => false,
        };
        self.queue.retain(|letter| letter.to != caller || !of_it(&letter.input));
        let call = self.calls.iter().find(|(_, c)| c.caller == caller && c.attempt == attempt);
        if let Some((id, host)) = call.map(|(id, call)| (*id, call.host)) {
            self.calls.remove(&id);
            self.post(caller, host, Input::Gone { call: id });
        }
    }

    fn fetch(&mut self, me: P, tag: Tag, digest: Digest, from: Option<P>) {
        let has = |peer: &P| self.disks.get(peer).is_some_and(|disk| disk.code.contains(&digest));
        let here =
            has(&me) || from.is_some_and(|peer| self.nodes.contains_key(&peer) && has(&peer));
        if here {
            self.disk(me).code.insert(digest);
        }
        let got = if here { Got::Code } else { Got::Nothing };
        self.post(me, me, Input::Fetched { tag, digest, got });
    }
}
