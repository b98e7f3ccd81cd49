//! The demo: a whole network on this machine, each step checked.
//!
//! It starts child processes `peerless up` on loopback, with one owner key and a store each, and
//! uses them as a stranger would, over HTTP. Every step measures and checks; the first that does
//! not hold ends the demo with exit status 1, the step's name and reason, and the last lines that
//! the node concerned logged. A table says what was measured.
//!
//! To see that it can fail: with a `--config FILE` that holds `[core]` and `repair = false` it ends
//! in the step `repair`; with `--tamper FILE`, which puts another module in the place of `echo` on
//! the gateway's disk, in the step `deploy`, since no node believes a file without its digest.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::DemoArgs;
use crate::client::failure::{FAILED, Failure, INTERRUPTED};
use crate::client::output::{line, table};
use crate::clock::Stopwatch;

mod check;
mod heal;
mod network;
mod steps;

use network::Network;

/// Runs the demo; what it shows goes to standard output, its progress to standard error.
pub(crate) fn run(args: DemoArgs, json: bool) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Failure::failed(format!("cannot start: {error}")).report(),
    };
    let ended = runtime.block_on(watched(args, json));
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn watched(args: DemoArgs, json: bool) -> Result<(), Failure> {
    let mut demo = Demo::new(args, json)?;
    let ended = tokio::select! {
        ended = steps::all(&mut demo) => ended,
        () = interrupted() => {
            // The network goes with `demo`.
            return Err(Failure { exit: INTERRUPTED, message: "interrupted".into() });
        }
    };
    demo.finish(ended)
}

/// Ctrl-C, the end of the terminal, or the system's wish that this process ends.
#[cfg(unix)]
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let wait = |kind| {
        Box::pin(async move {
            match signal(kind) {
                Ok(mut signal) => drop(signal.recv().await),
                Err(_) => std::future::pending().await,
            }
        })
    };
    futures::future::select_all(kinds.map(wait)).await;
}

#[cfg(not(unix))]
async fn interrupted() {
    let _ = tokio::signal::ctrl_c().await;
}

/// A step did not hold.
#[derive(Debug)]
struct Trouble {
    reason: String,
    /// Whose log may say more.
    node: Option<usize>,
}

impl Trouble {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), node: None }
    }

    fn at(node: usize, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), node: Some(node) }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::new(failure.message)
    }
}

/// A figure of this run.
struct Row {
    step: &'static str,
    what: String,
    figure: String,
}

struct Demo {
    args: DemoArgs,
    json: bool,
    network: Network,
    watch: Stopwatch,
    step: &'static str,
    rows: Vec<Row>,
}

impl Demo {
    fn new(args: DemoArgs, json: bool) -> Result<Self, Failure> {
        let network = Network::new(&args)?;
        let watch = Stopwatch::start();
        Ok(Self { args, json, network, watch, step: "start", rows: Vec::new() })
    }

    /// Which step it is from now on.
    fn begin(&mut self, step: &'static str, what: &str) {
        self.step = step;
        eprintln!("{:5.1} s  {step:<8} {what}", self.watch.seconds());
    }

    /// Something that was measured.
    fn row(&mut self, what: impl Into<String>, figure: impl Into<String>) {
        self.rows.push(Row { step: self.step, what: what.into(), figure: figure.into() });
    }

    fn finish(mut self, ended: Result<(), Trouble>) -> Result<(), Failure> {
        let seconds = self.watch.seconds();
        if ended.is_ok() {
            self.step = "all";
            self.row("time", format!("{seconds:.1} s"));
        }
        let failed = ended.err();
        self.print(failed.as_ref(), seconds)?;
        if let Some(trouble) = &failed {
            self.explain(trouble);
        }
        if self.args.keep && self.network.live().next().is_some() {
            self.network.leave_up();
            if !self.json {
                line(&self.how_to_use_and_stop())?;
            }
        }
        if failed.is_some() { Err(Failure::silent(FAILED)) } else { Ok(()) }
    }

    fn print(&self, failed: Option<&Trouble>, seconds: f64) -> Result<(), Failure> {
        if !self.json {
            let row = |row: &Row| [row.step.to_owned(), row.what.clone(), row.figure.clone()];
            let rows: Vec<_> = self.rows.iter().map(row).collect();
            return line(table(["STEP", "WHAT", "FIGURE"], &rows).trim_end());
        }
        let figure = |row: &Row| json!({"step": row.step, "what": row.what, "figure": row.figure});
        let mut report = json!({
            "schema": 1,
            "ok": failed.is_none(),
            "peers": self.args.peers,
            "seconds": seconds,
            "figures": self.rows.iter().map(figure).collect::<Vec<_>>(),
        });
        if let Some(trouble) = failed {
            report["failed"] = json!({"step": self.step, "reason": trouble.reason});
        }
        if self.args.keep {
            let live = || self.network.live();
            report["gateways"] = live().map(|node| node.gateway.url()).collect();
            report["pids"] = live().map(|node| node.pid).collect();
            report["directory"] = self.network.dir().display().to_string().into();
        }
        line(&report.to_string())
    }

    fn explain(&self, trouble: &Trouble) {
        eprintln!("error: step {} failed: {}", self.step, trouble.reason);
        if let Some(node) = trouble.node {
            let lines = self.network.log_tail(node);
            if !lines.is_empty() {
                eprintln!("the last that node {node} logged:\n{}", lines.join("\n"));
            }
        }
    }

    fn how_to_use_and_stop(&self) -> String {
        let pids: Vec<_> = self.network.live().map(|node| node.pid.to_string()).collect();
        let urls: Vec<_> = self.network.live().map(|node| node.gateway.url()).collect();
        format!(
            "\nThe network is up. Its gateways, for --gateway:\n  {}\nTo stop it:\n  kill {} && rm -r {}",
            urls.join("\n  "),
            pids.join(" "),
            self.network.dir().display(),
        )
    }
}
