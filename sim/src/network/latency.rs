//! How far apart two peers are: where each stands is a keyed draw, so that a peer that comes later
//! moves no other.

use std::sync::Arc;

use peerless_core::Span;

use super::Settings;
use super::matrix::Matrix;
use super::topology::Topology;
use crate::chance::{Chance, Concern};
use crate::scenario::worded;

/// Where latencies come from.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Model {
    /// All peers are equally far apart.
    Constant,
    /// Each peer is a point of a square, and latency is their distance. With `access_max` it is the
    /// model of Dabek, Cox, Kaashoek and Morris, "Vivaldi: a decentralized network coordinate system"
    /// (SIGCOMM 2004): two dimensions and a height.
    Coordinates,
    /// Between sites it was measured; each peer is at one of them.
    Matrix,
    /// Routers of transit and of stub domains: Zegura, Calvert and Bhattacharjee, "How to model an
    /// internetwork" (INFOCOM 1996).
    TransitStub,
    /// Routers of which few have many links: Barabási and Albert, "Emergence of scaling in random
    /// networks" (Science 286, 1999).
    ScaleFree,
    /// Routers in a ring with short cuts: Watts and Strogatz, "Collective dynamics of 'small-world'
    /// networks" (Nature 393, 1998).
    SmallWorld,
}

worded!(
    Model:
    "constant" => Constant,
    "coordinates" => Coordinates,
    "matrix" => Matrix,
    "transit-stub" => TransitStub,
    "scale-free" => ScaleFree,
    "small-world" => SmallWorld,
);

/// No two machines are nearer than two on one local network, unless all are meant to be.
const NEAREST: Span = Span(50_000);

/// A model, ready to be asked.
#[derive(Clone, Debug)]
pub(super) enum Latency {
    Constant(Span),
    /// The mean distance of two peers.
    Plane(Span),
    Sites(Arc<Matrix>),
}

impl Latency {
    pub(super) fn new(
        settings: &Settings,
        topology: &Topology,
        matrix: Option<Arc<Matrix>>,
        chance: &Chance,
    ) -> Self {
        let mean = settings.latency;
        match settings.model {
            Model::Constant => Self::Constant(mean),
            Model::Coordinates => Self::Plane(mean),
            Model::Matrix => Self::Sites(matrix.expect("a scenario with this model has a matrix")),
            Model::TransitStub | Model::ScaleFree | Model::SmallWorld => {
                Self::Sites(Arc::new(topology.build(settings.model, mean, chance)))
            }
        }
    }

    #[inline]
    pub(super) fn between(&self, from: u32, to: u32, chance: &Chance) -> Span {
        match self {
            Self::Constant(span) => *span,
            Self::Plane(mean) => {
                let way = distance(point(from, chance), point(to, chance), *mean);
                way.max(NEAREST.min(*mean))
            }
            Self::Sites(matrix) => {
                let site = |peer: u32| {
                    let sites = u64::from(matrix.sites());
                    chance.below(sites, Concern::Site, peer.into(), 0, 0) as u32
                };
                matrix.between(site(from), site(to)).max(NEAREST)
            }
        }
    }
}

/// A point of a square whose side is 2³¹.
fn point(peer: u32, chance: &Chance) -> (u32, u32) {
    let bits = chance.bits(Concern::Site, peer.into(), 1, 0);
    ((bits >> 33) as u32, bits as u32 >> 1)
}

/// Two random points of a square are 0.521405 of its side apart on average.
const MEAN_DISTANCE: u64 = 1_119_709_642;

fn distance(a: (u32, u32), b: (u32, u32), mean: Span) -> Span {
    let (x, y) = (u64::from(a.0.abs_diff(b.0)), u64::from(a.1.abs_diff(b.1)));
    let far = u128::from((x * x + y * y).isqrt());
    Span((far * u128::from(mean.0) / u128::from(MEAN_DISTANCE)) as u64)
}
