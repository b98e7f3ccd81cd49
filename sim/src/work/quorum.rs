//! How often a quorum accepts a wrong answer, where hosts collude on it: what the simulated rate is
//! compared with.

/// The probability that an item gets the wrong answer of `wrong` hosts out of `hosts`, where `agree`
/// equal answers of at most `of` hosts count.
///
/// Each item is asked of `agree` hosts at once, then of one more for each answer that is not like most
/// of those before, until `agree` are alike or that can't be any more. All right answers are alike, and
/// so are all wrong ones. As hosts are drawn without regard to what they answer, the answers are those of
/// hosts drawn one after the other without replacement, in whatever order they come: how many are asked at
/// once changes nothing but who is asked in vain. So an item is wrong if, and only if, the `agree`th wrong
/// answer comes before the `agree`th right one and among the first `of` (a negative hypergeometric
/// law, cut off at `of`), which the recursion over (wrong, right) answers so far adds up.
///
/// For 2 of 3 the third host is asked only if the first two differ; but two that agree outvote any third,
/// so that this is the chance of 2 or 3 wrong hosts among 3 (the upper tail of the hypergeometric law):
/// (C(w,2)·(n−w) + C(w,3)) / C(n,3).
pub(super) fn wrong_rate(hosts: u64, wrong: u64, agree: u8, of: u8) -> f64 {
    let (agree, of, right) = (u64::from(agree), u64::from(of), hosts.saturating_sub(wrong));
    // How likely it is that so many wrong answers and `n` less so many right ones have come.
    let mut chances = vec![1.0];
    let mut accepted = 0.0;
    for n in 0..of.min(hosts) {
        let mut next = vec![0.0; chances.len() + 1];
        for (bad, chance) in (0..).zip(&chances) {
            let good = n - bad;
            if bad == agree || good == agree {
                continue;
            }
            let left = (hosts - n) as f64;
            next[bad as usize + 1] += chance * (wrong.saturating_sub(bad) as f64) / left;
            next[bad as usize] += chance * (right.saturating_sub(good) as f64) / left;
        }
        accepted += next.get(agree as usize).copied().unwrap_or(0.0);
        chances = next;
    }
    accepted
}

#[cfg(test)]
mod tests {
    use super::*;

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
                let rate = wrong_rate(6, wrong, agree, of);
                let counted = counted(6, wrong as usize, agree.into(), of.into());
                assert!((rate - counted).abs() < 1e-12, "{agree} of {of}, {wrong} wrong: {rate}");
            }
        }
    }

    #[test]
    fn two_of_three_is_the_tail_of_the_hypergeometric_law() {
        let (n, w) = (100.0, 20.0);
        let pairs = w * (w - 1.0) / 2.0 * (n - w) + w * (w - 1.0) * (w - 2.0) / 6.0;
        let tail = pairs / (n * (n - 1.0) * (n - 2.0) / 6.0);
        assert!((wrong_rate(100, 20, 2, 3) - tail).abs() < 1e-12);
        assert!((tail - 0.1011).abs() < 5e-5, "{tail}");
    }
}
