//! What must hold in any world, for any input, and of the sources themselves.

mod admission;
mod bytes;
mod calls;
mod deploying;
mod endings;
mod guards;
mod worlds;
