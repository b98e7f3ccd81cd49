//! Networks of routers: built once, as a graph whose links have keyed lengths; what is kept is the
//! table of shortest ways.

use peerless_core::Span;
use petgraph::algo::dijkstra;
use petgraph::graph::{NodeIndex, UnGraph};

use super::latency::Model;
use super::matrix::{Matrix, SITES_MAX};
use crate::chance::{Chance, Concern, Share};
use crate::scenario::{Bad, Keys, at_least, section};

section! {
    /// The routers, where `network.model` is a topology.
    "topology" => pub struct Topology {
        /// Routers of a scale-free or a small-world network.
        routers: u32 = 400,
        /// Links that each router of a scale-free network comes with.
        links: u32 = 2,
        /// Routers of a small-world network that each is linked to at first, in a ring; even.
        neighbours: u32 = 4,
        /// Share of a small-world network's links that are short cuts; those to the next router stay.
        rewired: Share = Share::percent(10),
        /// Transit domains.
        domains: u32 = 4,
        /// Transit routers in each domain.
        transits: u32 = 4,
        /// Stub domains at each transit router.
        stubs: u32 = 3,
        /// Routers in each stub domain: peers are at these.
        stub_routers: u32 = 6,
    }
}

/// Relative lengths of the links of a transit-stub network, in thousandths: the wider a link's
/// domain, the longer it is.
const BETWEEN_DOMAINS: u32 = 40_000;
const IN_DOMAIN: u32 = 10_000;
const TO_STUB: u32 = 4_000;
const IN_STUB: u32 = 2_000;

/// Of the links that are not needed to hold a domain together, each other one exists.
const SPARE: Share = Share::percent(50);

impl Topology {
    /// Values that are impossible together with the model.
    pub(super) fn check(&self, model: Model, keys: &Keys) -> Result<(), Bad> {
        let bad = |key: &str, what: String| Err(keys.bad(&format!("topology.{key}"), &what));
        for (key, is) in [
            ("links", self.links),
            ("domains", self.domains),
            ("transits", self.transits),
            ("stubs", self.stubs),
            ("stub_routers", self.stub_routers),
        ] {
            at_least(keys, &format!("topology.{key}"), is, 1)?;
        }
        if self.routers > SITES_MAX {
            return bad("routers", format!("expected at most {SITES_MAX}"));
        }
        if !(2..=64).contains(&self.neighbours) || self.neighbours % 2 == 1 {
            return bad("neighbours", "expected an even number from 2 to 64".to_owned());
        }
        if self.links > 64 {
            return bad("links", "expected at most 64".to_owned());
        }
        let dense = self.neighbours.max(self.links + 1) + 1;
        if self.routers < dense {
            return bad("routers", format!("expected at least {dense} for that many links"));
        }
        let all = [self.domains, self.transits, self.stubs, self.stub_routers]
            .iter()
            .fold(1, |all: u64, n| all.saturating_mul(u64::from(*n)));
        let transits = u64::from(self.domains).saturating_mul(u64::from(self.transits));
        if all.saturating_add(transits) > u64::from(SITES_MAX) {
            let what = format!("expected at most {SITES_MAX} routers in all domains");
            return bad("domains", what);
        }
        if model == Model::TransitStub && all < 2 {
            return bad("stub_routers", "expected at least 2 routers of stub domains".to_owned());
        }
        Ok(())
    }

    /// The ways between all routers at which peers are, `mean` long on average.
    pub(super) fn build(&self, model: Model, mean: Span, chance: &Chance) -> Matrix {
        let mut plan = Plan { graph: UnGraph::new_undirected(), chance };
        let first = match model {
            Model::TransitStub => plan.transit_stub(self),
            Model::ScaleFree => plan.scale_free(self.routers, self.links),
            Model::SmallWorld => plan.small_world(self.routers, self.neighbours, self.rewired),
            Model::Constant | Model::Coordinates | Model::Matrix => {
                unreachable!("these models have no routers")
            }
        };
        shortest(&plan.graph, first, mean)
    }
}

type Graph = UnGraph<(), u32>;

/// A network of routers while it is built.
struct Plan<'a> {
    graph: Graph,
    chance: &'a Chance,
}

impl Plan<'_> {
    fn add(&mut self, n: u32) -> Vec<NodeIndex> {
        (0..n).map(|_| self.graph.add_node(())).collect()
    }

    /// A link of this length, give or take a half.
    fn link(&mut self, a: NodeIndex, b: NodeIndex, length: u32) {
        let (a, b) = (a.min(b), a.max(b));
        if a == b || self.graph.contains_edge(a, b) {
            return;
        }
        let (from, to) = (a.index() as u64, b.index() as u64);
        let more = self.chance.below(u64::from(length), Concern::Link, from, to, 0) as u32;
        self.graph.add_edge(a, b, length / 2 + more);
    }

    fn below(&self, n: u64, a: NodeIndex, b: u64, draw: u64) -> u64 {
        self.chance.below(n, Concern::Wiring, a.index() as u64, b, draw)
    }

    /// Links each router to a random earlier one, and some pairs beside.
    fn hold_together(&mut self, nodes: &[NodeIndex], length: u32) {
        for (at, node) in nodes.iter().enumerate().skip(1) {
            let other = nodes[self.below(at as u64, *node, 0, 0) as usize];
            self.link(*node, other, length);
            let other = nodes[self.below(at as u64, *node, 1, 0) as usize];
            let bits = self.chance.bits(Concern::Wiring, node.index() as u64, 2, 0);
            if SPARE.takes(bits) {
                self.link(*node, other, length);
            }
        }
    }

    /// Returns the first router at which peers are.
    fn transit_stub(&mut self, it: &Topology) -> u32 {
        let transits = self.add(it.domains * it.transits);
        let mut borders = Vec::new();
        for domain in transits.chunks(it.transits as usize) {
            self.hold_together(domain, IN_DOMAIN);
            let border = self.below(domain.len() as u64, domain[0], 3, 0);
            borders.push(domain[border as usize]);
        }
        self.hold_together(&borders, BETWEEN_DOMAINS);
        for transit in transits {
            for stub in 0..it.stubs {
                let routers = self.add(it.stub_routers);
                self.hold_together(&routers, IN_STUB);
                let gate = self.below(routers.len() as u64, transit, 4, stub.into());
                self.link(transit, routers[gate as usize], TO_STUB);
            }
        }
        it.domains * it.transits
    }

    /// Each router comes with `links` links to earlier ones, drawn by how many links these have.
    fn scale_free(&mut self, routers: u32, links: u32) -> u32 {
        let nodes = self.add(routers);
        let core = links as usize + 1;
        // Each router stands here once for every link that it has.
        let mut ends = Vec::new();
        for (at, a) in nodes[..core].iter().enumerate() {
            for b in &nodes[..at] {
                self.link(*a, *b, IN_DOMAIN);
                ends.extend([*a, *b]);
            }
        }
        for node in &nodes[core..] {
            let mut chosen: Vec<NodeIndex> = Vec::new();
            // There are more than `links` earlier routers, so that this ends; by chance, soon.
            for draw in 0.. {
                let other = ends[self.below(ends.len() as u64, *node, 5, draw) as usize];
                if !chosen.contains(&other) {
                    chosen.push(other);
                }
                if chosen.len() == links as usize {
                    break;
                }
            }
            for other in chosen {
                self.link(*node, other, IN_DOMAIN);
                ends.extend([*node, other]);
            }
        }
        0
    }

    /// A ring in which some links lead anywhere. Those from each router to the next stay, so that the
    /// ring never falls apart.
    fn small_world(&mut self, routers: u32, neighbours: u32, rewired: Share) -> u32 {
        let nodes = self.add(routers);
        for (at, node) in nodes.iter().enumerate() {
            for step in 1..=neighbours as usize / 2 {
                let mut other = nodes[(at + step) % nodes.len()];
                let bits = self.chance.bits(Concern::Wiring, at as u64, 6, step as u64);
                if step > 1 && rewired.takes(bits) {
                    other = nodes[self.below(nodes.len() as u64, *node, 7, step as u64) as usize];
                }
                self.link(*node, other, IN_DOMAIN);
            }
        }
        0
    }
}

/// All shortest ways between the routers from `first` on, in units in which their mean is `mean`.
fn shortest(graph: &Graph, first: u32, mean: Span) -> Matrix {
    let nodes: Vec<NodeIndex> = graph.node_indices().skip(first as usize).collect();
    let sites = nodes.len();
    let mut ways: Vec<u32> = Vec::with_capacity(sites * sites);
    for from in &nodes {
        let from_here = dijkstra(graph, *from, None, |link| *link.weight());
        ways.extend(nodes.iter().map(|to| from_here[to]));
    }
    let sum: u128 = ways.iter().map(|way| u128::from(*way)).sum();
    let pairs = (sites * (sites - 1)) as u128;
    let micros = ways.iter().map(|way| {
        let micros = u128::from(*way) * u128::from(mean.0) * pairs / (sum * 1000);
        u32::try_from(micros).unwrap_or(u32::MAX)
    });
    Matrix::new(sites as u32, micros.collect())
}
