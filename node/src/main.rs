//! Entry of the `peerless` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    peerless_node::run()
}
