//! The page of a directory of reports.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::{sim, text};

fn spread(mean: f64) -> Value {
    json!({"mean": mean, "p50": 1, "p90": 2, "p99": 3, "max": 4})
}

/// What the contract says of every run.
fn run(scenario: &str, seed: u64, peers: u32) -> Value {
    json!({
        "schema": 1, "scenario": scenario, "seed": seed, "peers": peers,
        "digest": format!("{seed:08x}{peers:08x}"),
        "virtual_seconds": 10.0, "setup_seconds": 0.5, "wall_seconds": 2.0, "cpu_seconds": 2.0,
        "events": 1_234_567, "events_per_cpu_second": 617_283.5, "peak_rss_bytes": 104_857_600,
        "messages": 1000, "bytes": 2_500_000, "violations": []
    })
}

fn lookup(seed: u64, peers: u32, hops: f64) -> Value {
    let mut value = run("lookup", seed, peers);
    value["lookup"] = json!({
        "count": 10_000, "succeeded": 9_999, "exact": 9_998, "hops": spread(hops),
        "rounds": spread(2.5), "rpcs": spread(20.0 + hops), "latency_ms": spread(1500.0),
        "timeouts": 3,
        "distributions": {
            "hops": {"width": 1.0, "counts": [1, 6, 3]},
            "rounds": {"width": 1.0, "counts": [0, 2, 8]},
            "rpcs": {"width": 1.0, "counts": [0, 0, 0, 10]},
            "latency_ms": {"width": 0.125, "counts": [5, 5]}
        }
    });
    value["series"] = json!({
        "bucket_seconds": 4.0, "messages": [400, 400, 200], "bytes": [1_000_000, 1_000_000, 500_000],
        "peers": [peers, peers, peers], "lookups": [4000, 4000, 2000],
        "lookups_succeeded": [4000, 4000, 1999]
    });
    value
}

fn manycall() -> Value {
    let mut value = run("jobs of all kinds", 7, 60);
    value["manycall"] = json!({
        "jobs": 2, "items": 100, "succeeded": 99, "failed": 1, "unknown": 0, "lost": 0,
        "doubled": 0, "attempts": 103, "hedged": 2, "makespan_ms": spread(4000.0),
        "ideal_makespan_ms": spread(3600.0), "efficiency": 0.9,
        "timeline": [
            {"start_seconds": 1.0, "seconds": 3.0, "items": 50, "succeeded": 50},
            {"start_seconds": 2.0, "seconds": 5.0, "items": 50, "succeeded": 49}
        ]
    });
    value["placement"] = json!({
        "functions": 1, "wanted": 3, "live": spread(3.0), "repairs": 0,
        "repair_seconds": spread(0.0), "hostless_fraction": 0.0, "load_max_over_mean": 1.0,
        "moved_on_join": 0, "moved_on_leave": 0, "placed": 1,
        "functions_on_peers": {"width": 1.0, "counts": [57, 3]},
        "calls_on_hosts": {"width": 1.0, "counts": [0, 1, 2]}
    });
    value["violations"] = json!([{"seconds": 1.5, "peer": 4, "what": "it went wrong"}]);
    value
}

fn put(dir: &Path, file: &str, what: &Value) {
    fs::write(dir.join(file), what.to_string()).expect("it can be written");
}

/// The page of a directory, which the command draws without a complaint.
fn draw(dir: &Path) -> String {
    let output = sim(&["report", dir.to_str().expect("a path of text")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    fs::read_to_string(dir.join("report.html")).expect("it was drawn")
}

/// What a reader sees: the text, and what each picture is made of.
fn seen(page: &str) -> String {
    let body = page.split_once("<body>").expect("there is a body").1;
    let mut told = String::new();
    let mut rest = body;
    while let Some((before, from)) = rest.split_once("<svg ") {
        let (svg, after) = from.split_once("</svg>").expect("it ends");
        told.push_str(before);
        let many = |tag: &str| svg.matches(tag).count();
        let words: Vec<&str> = svg
            .split("<text ")
            .skip(1)
            .filter_map(|text| text.split_once('>')?.1.split_once("</text>"))
            .map(|(words, _)| words)
            .collect();
        let _ = writeln!(
            told,
            "[{} lines, {} dots, {} bars; {}]",
            many("<polyline"),
            many("<circle"),
            many("<rect"),
            words.join(" | ")
        );
        rest = after;
    }
    told.push_str(rest);
    let mut text = String::new();
    for part in
        told.replace("</td>", "  ").replace("</th>", "  ").replace("</li>", ".  ").split('<')
    {
        let words = part.split_once('>').map_or(part, |(_, words)| words);
        text.push_str(words);
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

#[test]
fn a_page_shows_every_run() {
    let dir = tempfile::tempdir().expect("a directory");
    for (seed, peers, hops) in [(1, 1000, 0.9), (2, 1000, 1.0), (1, 10_000, 1.4)] {
        put(dir.path(), &format!("lookup-{seed}-{peers}.json"), &lookup(seed, peers, hops));
    }
    put(dir.path(), "jobs.json", &manycall());
    fs::write(dir.path().join("notes.txt"), "not asked for").expect("it can be written");
    let page = draw(dir.path());
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, { insta::assert_snapshot!("report_page", seen(&page)) });
    // Nothing from elsewhere, nothing to be run; and the same once more.
    for foreign in ["http:", "https:", "src=", "url(", "@import", "<script", "<link", "onload"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
    assert_eq!(draw(dir.path()), page);
}

#[test]
fn a_report_of_the_contracts_fields_alone_is_drawn() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut plain = lookup(1, 100, 0.5);
    plain.as_object_mut().expect("an object").remove("series");
    plain["lookup"].as_object_mut().expect("an object").remove("distributions");
    put(dir.path(), "a.json", &plain);
    let page = draw(dir.path());
    assert!(page.contains("Lookups that succeeded, by seed") && page.contains("99.99 %"));
    assert!(!page.contains("Hops to the closest peer<"), "there is nothing to see in it");
}

#[test]
fn what_is_written_in_reports_is_but_text() {
    let dir = tempfile::tempdir().expect("a directory");
    let evil = "</title><script>alert(1)</script>\" onload='x' &amp;\u{202e}\u{7}";
    let mut run = lookup(1, 100, 0.5);
    run["scenario"] = evil.into();
    run["digest"] = evil.into();
    run["violations"] = json!([{"seconds": 1.0, "what": evil}]);
    put(dir.path(), "<img src=x onerror=alert(1)>.json", &json!({"schema": evil}));
    put(dir.path(), "run.json", &run);
    let page = draw(dir.path());
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("onload='"));
    assert!(!page.contains('\u{202e}') && !page.contains('\u{7}'));
    let safe = "&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x&#39; \
                &amp;amp;\\u{202e}\\u{7}";
    assert!(page.matches(safe).count() >= 4, "in the menu, the title, the table and the list");
}

/// Every number that JSON can hold is drawn somewhere, and quickly.
#[test]
fn numbers_beyond_reason_are_drawn() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut run = lookup(u64::MAX, u32::MAX, 1e308);
    for field in ["events", "messages", "bytes", "peak_rss_bytes", "violations_count"] {
        run[field] = u64::MAX.into();
    }
    run["virtual_seconds"] = json!(-1e300);
    run["cpu_seconds"] = json!(1e308);
    run["lookup"]["succeeded"] = u64::MAX.into();
    let counts = vec![u64::MAX; 100_000];
    run["lookup"]["distributions"]["hops"] = json!({"width": 1e-308, "counts": counts});
    run["lookup"]["distributions"]["rpcs"] = json!({"width": 1e308, "counts": [1, 2, 3]});
    run["lookup"]["distributions"]["rounds"] = json!({"width": -1.0, "counts": [1, 2]});
    run["series"]["messages"] = json!(counts);
    run["series"]["bucket_seconds"] = json!(1e308);
    put(dir.path(), "most.json", &run);
    let mut least = lookup(0, 0, -1e308);
    least["series"]["bucket_seconds"] = json!(0.0);
    least["lookup"]["count"] = 0.into();
    put(dir.path(), "least.json", &least);
    let page = draw(dir.path());
    for odd in ["NaN", "inf"] {
        let at = page.find(odd).map(|at| &page[at.saturating_sub(80)..at + 80]);
        assert_eq!(at, None, "it is no number to draw");
    }
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

#[test]
fn what_is_no_report_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().to_str().expect("a path of text");
    let output = sim(&["report", at]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("expected the *.json that run --out"));

    fs::write(dir.path().join("broken.json"), "{\"schema\":1,").expect("it can be written");
    fs::write(dir.path().join("bytes.json"), [0xff, 0xfe]).expect("it can be written");
    fs::create_dir(dir.path().join("folder.json")).expect("it can be made");
    put(dir.path(), "later.json", &json!({"schema": 2}));
    put(dir.path(), "other.json", &json!([1, 2]));
    let mut incomplete = run("lookup", 1, 10);
    incomplete.as_object_mut().expect("an object").remove("digest");
    put(dir.path(), "incomplete.json", &incomplete);
    let says = [
        ("broken.json", "EOF while parsing"),
        ("bytes.json", "expected value"),
        ("folder.json", "it is no file"),
        ("later.json", "expected \"schema\" 1, found 2"),
        ("other.json", "expected \"schema\" 1, found none"),
        ("incomplete.json", "missing field `digest`"),
    ];
    let output = sim(&["report", at]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    for (file, why) in says {
        assert!(said.lines().any(|line| line.starts_with(file) && line.contains(why)), "{said}");
    }

    put(dir.path(), "good.json", &run("lookup", 1, 10));
    let page = seen(&draw(dir.path()));
    for (file, why) in says {
        let why = why.replace('"', "&quot;");
        assert!(page.lines().any(|line| line.starts_with(file) && line.contains(&why)), "{page}");
    }
    let output = sim(&["report", "no/such/place"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no/such/place: "));
}
