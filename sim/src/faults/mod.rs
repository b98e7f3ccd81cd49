//! What happens to machines: each fault in a file of its own, planned as a part of the work.

mod arrivals;
mod churn;
mod clocks;
mod crash;
mod partition;
mod sessions;

pub use self::arrivals::Arrivals;
pub use self::churn::Churn;
pub use self::clocks::{Clock, Clocks};
pub use self::crash::Crash;
pub use self::partition::Partition;
pub use self::sessions::{Law, Lengths, Sessions};
