//! How often a quorum accepts a wrong answer, where hosts collude on it: what the simulated rate is
//! compared with.

/// How often hosts that answer alike were asked as one of the first voices of an item: as many of them as
/// have to agree, who are asked whatever others answer.
#[derive(Copy, Clone, Default, Debug)]
pub(super) struct Used {
    times: f64,
    squares: f64,
}

impl Used {
    /// A host was asked so many times.
    pub(super) fn add(&mut self, times: u64) {
        self.times += times as f64;
        self.squares += (times as f64).powi(2);
    }

    /// How often that host of them is used that one drawn by use is.
    fn each(self) -> f64 {
        if self.times > 0.0 { self.squares / self.times } else { 0.0 }
    }
}

/// The probability that an item gets the answer of the `wrong` hosts, where `agree` equal answers of at
/// most `of` hosts count.
///
/// Each item is asked of `agree` hosts at once, then of one more for each answer that is not like most
/// of those before, until `agree` are alike or that can't be any more. All right answers are alike, and
/// so are all wrong ones. As hosts are drawn without regard to what they answer, the answers are those of
/// hosts drawn one after the other without replacement, in whatever order they come: how many are asked at
/// once changes nothing but who is asked in vain. So an item is wrong if, and only if, the `agree`th wrong
/// answer comes before the `agree`th right one and among the first `of`, which the recursion over
/// (wrong, right) answers so far adds up.
///
/// Hosts are not drawn alike: whoever comes free is asked, so that one that is found late is asked less.
/// Of 100 hosts a few that come late move the rate by more than three standard errors of 10,000 items. So
/// each is drawn by its use u: the first voice is wrong with the probability W/(W+R), W and R being the
/// sums of the u of wrong and of right hosts. Who was drawn is not drawn again, which takes its u from its
/// sum: Σu²/Σu on average, since it was drawn by u. That is exact for the second voice of a kind where the
/// hosts of a kind are used alike, and in general up to the square of what one host is of all.
///
/// The use is counted over the first voices alone. The later ones are asked because of what was answered,
/// and a wrong one makes a wrong result: with them the expectation would follow what it is to judge.
///
/// Where all are used alike it is a negative hypergeometric law, cut off at `of`. For 2 of 3 the third host
/// is asked only if the first two differ; but two that agree outvote any third, so that this is the chance
/// of 2 or 3 wrong hosts among 3 (the upper tail of the hypergeometric law), with w of n hosts wrong:
/// (C(w,2)·(n−w) + C(w,3)) / C(n,3).
pub(super) fn wrong_rate(right: Used, wrong: Used, agree: u8, of: u8) -> f64 {
    let (agree, of) = (u64::from(agree), u64::from(of));
    let left = |used: Used, drawn: u64| (used.times - drawn as f64 * used.each()).max(0.0);
    // How likely it is that so many wrong answers and `n` less so many right ones have come.
    let mut chances = vec![1.0];
    let mut accepted = 0.0;
    for n in 0..of {
        let mut next = vec![0.0; chances.len() + 1];
        for (bad, chance) in (0..).zip(&chances) {
            let good = n - bad;
            let (wrong, right) = (left(wrong, bad), left(right, good));
            if bad == agree || good == agree || wrong + right <= 0.0 {
                continue;
            }
            next[bad as usize + 1] += chance * wrong / (wrong + right);
            next[bad as usize] += chance * right / (wrong + right);
        }
        accepted += next.get(agree as usize).copied().unwrap_or(0.0);
        chances = next;
    }
    accepted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(times: &[u64]) -> Used {
        let mut used = Used::default();
        for times in times {
            used.add(*times);
        }
        used
    }

    /// So many hosts, each used as much as any other.
    fn alike(hosts: usize) -> Used {
        used(&vec![7; hosts])
    }

    /// Every order of so many hosts, the first of which are wrong: how many of them end wrongly, going by
    /// the answers alone.
    fn counted(hosts: usize, wrong: usize, agree: usize, of: usize) -> f64 {
        let (mut all, mut wrongly) = (0, 0);
        let mut order: Vec<usize> = (0..hosts).collect();
        permute(&mut order, 0, &mut |order| {
            let (mut bad, mut good) = (0, 0);
            for host in order.iter().take(of) {
                *if *host < wrong { &mut bad } else { &mut good } += 1;
                if bad == agree || good == agree {
                    break;
                }
            }
            all += 1;
            wrongly += u32::from(bad == agree);
        });
        f64::from(wrongly) / f64::from(all)
    }

    fn permute(order: &mut [usize], from: usize, each: &mut impl FnMut(&[usize])) {
        if from == order.len() {
            return each(order);
        }
        for at in from..order.len() {
            order.swap(from, at);
            permute(order, from + 1, each);
            order.swap(from, at);
        }
    }

    #[test]
    fn the_rate_is_that_of_all_orders() {
        for wrong in 0..=6 {
            for (agree, of) in [(1, 1), (1, 3), (2, 2), (2, 3), (2, 5), (3, 4), (3, 5), (4, 9)] {
                let rate = wrong_rate(alike(6 - wrong), alike(wrong), agree, of);
                let counted = counted(6, wrong, agree.into(), of.into());
                assert!((rate - counted).abs() < 1e-12, "{agree} of {of}, {wrong} wrong: {rate}");
            }
        }
    }

    #[test]
    fn two_of_three_is_the_tail_of_the_hypergeometric_law() {
        let (n, w) = (100.0, 20.0);
        let pairs = w * (w - 1.0) / 2.0 * (n - w) + w * (w - 1.0) * (w - 2.0) / 6.0;
        let tail = pairs / (n * (n - 1.0) * (n - 2.0) / 6.0);
        assert!((wrong_rate(alike(80), alike(20), 2, 3) - tail).abs() < 1e-12);
        assert!((tail - 0.1011).abs() < 5e-5, "{tail}");
    }

    /// The chance of two wrong ones of three hosts drawn by their use without replacement, over all
    /// ordered triples.
    fn of_all_triples(right: &[u64], wrong: &[u64]) -> f64 {
        let hosts: Vec<(f64, u8)> = (right.iter().map(|times| (*times as f64, 0)))
            .chain(wrong.iter().map(|times| (*times as f64, 1)))
            .collect();
        let all: f64 = hosts.iter().map(|(times, _)| times).sum();
        let mut rate = 0.0;
        for (a, (first, x)) in hosts.iter().enumerate() {
            for (b, (second, y)) in hosts.iter().enumerate().filter(|(b, _)| *b != a) {
                for (c, (third, z)) in hosts.iter().enumerate() {
                    if c != a && c != b && x + y + z >= 2 {
                        let (rest, last) = (all - first, all - first - second);
                        rate += first / all * second / rest * third / last;
                    }
                }
            }
        }
        rate
    }

    #[test]
    fn hosts_are_drawn_by_their_use() {
        let early = vec![230; 79];
        for wrong in [vec![230; 20], vec![87; 20], [vec![230; 15], vec![20; 5]].concat()] {
            let right = [early.as_slice(), &[87]].concat();
            let all = of_all_triples(&right, &wrong);
            let rate = wrong_rate(used(&right), used(&wrong), 2, 3);
            assert!((rate - all).abs() < 1e-3 * all, "{rate} for {all}");
        }
        let (full, late) = (wrong_rate(alike(80), alike(20), 2, 3), used(&[3; 20]));
        assert!(wrong_rate(alike(80), late, 2, 3) < full / 2.0);
    }
}
