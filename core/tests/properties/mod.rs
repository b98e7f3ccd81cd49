//! What must hold in any world, for any input, and of the sources themselves.

mod admission;
mod arrivals;
mod bytes;
mod calls;
mod configs;
mod deploying;
mod disks;
mod endings;
mod guards;
mod hostile;
mod probes;
mod siblings;
mod storing;
mod worlds;
