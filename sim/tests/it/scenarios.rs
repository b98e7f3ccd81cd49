//! Scenario files: strict, documented, complete.

use std::fmt::Write as _;
use std::panic::catch_unwind;

use peerless_sim::scenario::{BUILT_IN, CORE_KEYS, Known, Scenario};

#[test]
fn complaints_name_file_line_and_key() {
    let functions = "owners = 1\n[functions]\n";
    let calls = &format!("{functions}[anycalls]\n");
    let many = &format!("{functions}[manycalls]\n");
    let crash = &format!("{functions}[crash]\n");
    let cases: [(&str, &str, &[&str]); 86] = [
        ("unknown key", "peers = 10\n\n[network]\nlatencyy = \"5ms\"", &[]),
        ("unknown section", "peers = 10\n[netwrok]\n", &[]),
        ("unknown key outside", "peer = 10", &[]),
        ("unknown key of a section that is not there", "[nonsense]\na = 1", &[]),
        ("wrong type", "peers = \"many\"", &[]),
        ("a number where a duration belongs", "\n[network]\nlatency = 25", &[]),
        ("no such unit", "[network]\nlatency = \"25 parsecs\"", &[]),
        ("impossible", "[network]\nloss = 1.5", &[]),
        ("too many", "[core]\nk = 70000", &[]),
        ("no peers", "peers = 1", &[]),
        ("least above most", "[functions]\nreplicas = [5, 3]", &[]),
        ("no such word", "[functions]\nspread = \"wide\"", &[]),
        ("set unknown", "peers = 10", &["network.los=0.1"]),
        ("set impossible", "peers = 10", &["network.loss=2"]),
        ("set nothing", "peers = 10", &["network.loss"]),
        ("set a key without a name", "peers = 10", &["network.=5"]),
        ("set a key of no section", "peers = 10", &[".peers=5"]),
        ("calls without functions", "peers = 10\n[anycalls]\ncount = 1", &[]),
        ("crash without functions", "peers = 10\n\n[crash]", &[]),
        ("set a crash without functions", "peers = 10", &["crash.count=2"]),
        ("no owners", "peers = 10\n[functions]", &[]),
        ("set no owners", functions, &["owners=0"]),
        ("no lookups", "[lookups]\ncount = 0", &[]),
        ("no functions", functions, &["functions.count=0"]),
        ("no anycalls", calls, &["anycalls.count=0"]),
        ("no jobs", many, &["manycalls.jobs=0"]),
        ("no items", many, &["manycalls.items=0"]),
        ("no hosts wanted", functions, &["functions.replicas=[0, 2]"]),
        ("no hosts", functions, &["host.hosts=0"]),
        ("no slots", functions, &["host.slots=0"]),
        ("no room", functions, &["host.room=0"]),
        ("no time", calls, &["anycalls.deadline=0s"]),
        ("nobody replaced", "[churn]\nper_hour = 0.0", &[]),
        ("less than one replaced", "[churn]\nper_hour = 0.01", &["peers=20"]),
        ("ends before it starts", "[churn]\nstart = \"3h\"", &[]),
        ("set to end before it starts", "[churn]\nstart = \"10m\"", &["churn.end=5m"]),
        ("nobody crashes", crash, &["crash.count=0"]),
        ("no share crashes", crash, &["crash.share=0.0"]),
        ("share and count", crash, &["crash.count=1", "crash.share=0.5"]),
        ("crash before anyone hosts", crash, &["crash.at=1s"]),
        ("never probes", functions, &["core.probe_period=0s"]),
        ("never compares", "[core]\nsync_period = \"0s\"", &[]),
        ("never renews", "", &["core.renew_period=0s"]),
        ("no loads to compare with", functions, &["core.loads_min=0"]),
        ("no record in a comparison", "owner_keys = 1", &["core.sync_records_max=0"]),
        ("more peers than an answer takes", "[core]\nk = 65", &[]),
        ("a place that lapses too soon", "[core]\nplace_timeout = \"1m\"", &[]),
        ("more than a year", "duration = \"10001h\"", &[]),
        ("no matrix", "[network]\nmodel = \"matrix\"", &[]),
        ("a matrix for nothing", "[network]\nmatrix = \"sites.txt\"", &[]),
        ("no such model", "[network]\nmodel = \"star\"", &[]),
        ("too many routers", "[topology]\nrouters = 2001", &[]),
        ("an odd ring", "[topology]\nneighbours = 3", &[]),
        ("more links than routers", "[topology]\nrouters = 4", &["topology.links=9"]),
        ("no stubs", "[topology]\nstubs = 0", &[]),
        ("heals before it parts", "[partition]\nat = \"20m\"", &[]),
        ("parts of more than all", "[partition]\nshares = [0.5, 0.6]", &[]),
        ("a share beside shares", "[partition]\nshare = 0.5\nshares = [0.5]", &[]),
        ("never apart", "[partition]\ntimes = 0", &[]),
        ("apart before it heals", "[partition]\ntimes = 2\nevery = \"1m\"", &[]),
        ("clocks beyond a year", "[clocks]\noffset_max = \"9000h\"", &[]),
        ("clocks at half the speed", "[clocks]\ndrift_ppm_max = 600000", &[]),
        ("no links", "[links]\nup = []\ndown = []", &[]),
        ("a link of nothing", "[links]\nup = [\"0B\"]", &[]),
        ("links of one way", "[links]\nup = [\"1MiB\", \"2MiB\"]", &[]),
        ("no connections", "[connections]\nmost = 0", &[]),
        ("nothing to translate", "[nat]\nshare = 0.5", &[]),
        ("expects tables", "[expect]\ntable_entries_ratio_min = 1.0", &[]),
        ("two laws of leaving", "[churn]\n[sessions]", &["peers=100"]),
        ("no such shape", "[sessions]\nshape = 0.01", &[]),
        ("no trace", "[sessions]\nlaw = \"trace\"", &[]),
        ("no such trace", "[sessions]\nlaw = \"trace\"\ntrace = \"none.txt\"", &[]),
        ("no adversary", "[adversaries]\nliars = 0.0", &[]),
        ("nobody to ask", "[adversaries]\nliars = 1.0", &[]),
        ("a lie for nobody", "[adversaries]\nliars = 0.0\nwrong = 0.1\nlie = \"silence\"", &[]),
        ("no sybils", "[sybils]\ncount = 0", &[]),
        ("too many sybils", "peers = 1_000_000\n[sybils]\ncount = 2_000", &[]),
        ("nothing eclipsed", "[lookups]\neclipsed = 0.5", &[]),
        ("no flow", calls, &["anycalls.flows=[5]"]),
        (
            "a flow of nothing",
            calls,
            &["anycalls.flows=[{ rate = 0, from = \"1s\", until = \"2s\" }]"],
        ),
        (
            "a flow through nobody",
            calls,
            &[
                "peers=5",
                "anycalls.flows=[{ rate = 1, from = \"1s\", until = \"2s\", through = 5 }]",
            ],
        ),
        (
            "a flow to nothing",
            calls,
            &["anycalls.flows=[{ rate = 1, from = \"1s\", until = \"2s\", function = 1 }]"],
        ),
        (
            "flows and a count",
            calls,
            &["anycalls.count=5", "anycalls.flows=[{ rate = 1, from = \"1s\", until = \"2s\" }]"],
        ),
        ("no slots of one", functions, &["host.slots_each=[2, 0]"]),
        ("no bursts", calls, &["anycalls.burst=0"]),
        ("expects of nothing", "[expect]\nlookup_exact_min = 1.0", &[]),
    ];
    let mut text = String::new();
    for (name, file, sets) in cases {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let complaint = Scenario::parse("mine", "mine.toml", file, &sets);
        let bad = complaint.err().unwrap_or_else(|| panic!("{name}: was accepted"));
        let _ = writeln!(text, "{name}:\n  {bad}");
    }
    for broken in ["peers = ", "peers = 1\npeers = 2", "[core\n"] {
        let bad = Scenario::parse("mine", "mine.toml", broken, &[]).expect_err("is no TOML");
        let _ = writeln!(text, "{broken:?}:\n  {bad}");
    }
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, { insta::assert_snapshot!("complaints", text) });
}

/// Every key at nothing, at next to nothing and at a lot: complained of, or run to an end.
#[test]
fn no_value_panics_or_hangs() {
    let churn = "[churn]\nper_hour = 0.9\nend = \"20m\"\n";
    let few = "peers = 12\nowners = 3\n[functions]\ncount = 3\n[lookups]\ncount = 20\n\
               [anycalls]\ncount = 20\nstart = \"5s\"\n[manycalls]\nitems = 20\nstart = \"6s\"\n\
               [churn]\nper_hour = 0.9\nend = \"20m\"\n[crash]\nat = \"8s\"\ncount = 1\n\
               [core]\nrefresh_period = \"0s\"";
    for Known { key, standard, .. } in Scenario::keys() {
        let values: &[&str] = match standard.as_bytes() {
            _ if key.starts_with("expect.") => continue,
            [b'"', b'0'..=b'9', .., b's' | b'm' | b'h', b'"'] => &["0s", "1ns", "10m"],
            [b'"', b'0'..=b'9', ..] => &["0B", "1B", "1024GiB"],
            [b'"', ..] => continue,
            [b'[', ..] => &["[0, 0]", "[1, 65535]", "[65535, 65535]"],
            b"true" | b"false" => &["true", "false"],
            [b'0', b'.', ..] => &["0.0", "0.0000000001", "1.0"],
            _ => &["0", "1", "255"],
        };
        for value in values {
            let mut sets = vec![format!("{key}={value}")];
            // A thousand of them may take their time one after the other: a week of it.
            if key.starts_with("sybils.") && key != "sybils.count" {
                sets.push("sybils.count=8".to_owned());
            }
            // The two laws by which peers go exclude each other.
            let few = few.replace(churn, if key.starts_with("sessions.") { "" } else { churn });
            if let Ok(scenario) = Scenario::parse("few", "few.toml", &few, &sets) {
                let world = catch_unwind(|| peerless_sim::report::run(&scenario, 1));
                assert!(world.is_ok(), "{key}={value}");
            }
        }
    }
}

#[test]
fn any_key_can_be_set() {
    let sets = ["network.loss=0.05", "core.k=8", "core.reply_timeout=500ms", "peers=77"];
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let scenario = Scenario::load("lookup", &sets).expect("all of them are possible");
    assert_eq!((scenario.peers, scenario.core.k), (77, 8));
    assert_eq!(scenario.core.reply_timeout, peerless_core::Span::ms(500));
    assert!(!scenario.network.loss.is_zero());
}

#[test]
fn every_limit_of_the_core_is_a_key() {
    let config = serde_json::to_value(peerless_core::Config::standard()).expect("plain data");
    let mut fields: Vec<&str> =
        config.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut keys = CORE_KEYS.to_vec();
    fields.sort_unstable();
    keys.sort_unstable();
    assert_eq!(keys, fields);
}

#[test]
fn every_key_is_documented() {
    let keys = Scenario::keys();
    let mut text = String::new();
    for Known { key, standard, doc } in &keys {
        assert!(doc.len() > 4 && doc.ends_with('.'), "{key} is not documented: {doc:?}");
        assert!(!doc.contains('\n'), "{key}: its meaning is one line");
        let _ = writeln!(text, "{key} = {standard}  # {doc}");
    }
    let mut names: Vec<&str> = keys.iter().map(|known| known.key.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), keys.len(), "a key is read twice");
    for key in CORE_KEYS {
        assert!(names.contains(&format!("core.{key}").as_str()), "core.{key}");
    }
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, { insta::assert_snapshot!("keys", text) });
}

/// What the list shows as standard is what a file may say, and means the same.
#[test]
fn every_standard_can_be_written() {
    // The two laws by which peers go exclude each other.
    for (there, not) in [("sessions", "churn."), ("churn", "sessions.")] {
        let given: Vec<String> = Scenario::keys()
            .into_iter()
            .filter(|known| known.standard != "unset" && !known.key.starts_with(not))
            .map(|known| format!("{}={}", known.key, known.standard))
            .collect();
        let sets: Vec<String> = [&given[..], &["owners=1".to_owned()]].concat();
        let said = Scenario::parse("all", "all.toml", "", &sets).expect("all of them are possible");
        let sections = format!(
            "owners = 1\n[lookups]\n[{there}]\n[crash]\n[arrivals]\n[partition]\n[links]\n[connections]\n[nat]\n[clocks]\n[joining]\n[adversaries]\n[sybils]\n[functions]\n[drain]\n\
             [anycalls]\n[manycalls]"
        );
        let standard = Scenario::parse("all", "all.toml", &sections, &[]);
        let standard = standard.expect("it is possible");
        assert_eq!(format!("{said:?}"), format!("{standard:?}"));
    }
}

#[test]
fn every_key_of_a_built_in_scenario_says_what_it_means() {
    for (name, text) in BUILT_IN {
        for (line, words) in text.lines().enumerate() {
            let is_key = words.contains(" = ") && !words.starts_with('#');
            let plain = ["about", "at", "count", "share", "start", "end", "jobs", "expect"];
            let says_itself = plain.iter().any(|key| words.starts_with(key))
                || words.contains("_min = ")
                || words.contains("_max = ")
                || words.starts_with("refresh_period");
            assert!(
                !is_key || says_itself || words.contains('#'),
                "{name}.toml:{}: {words}",
                line + 1
            );
        }
    }
}
