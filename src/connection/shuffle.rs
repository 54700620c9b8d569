//! A random order, for `load_balance_hosts=random`.

/// Puts the items into one of their orders, each as likely as any other.
///
/// Where the system has no random numbers they stay as they are: balance is no reason to fail.
pub(super) fn shuffle<T>(items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let Some(other) = random_index(last + 1) else { return };
        items.swap(last, other);
    }
}

/// A number below the bound.
fn random_index(bound: usize) -> Option<usize> {
    let bound = u64::try_from(bound).ok()?;
    // Numbers at the upper end would favour small results.
    let fair = u64::MAX - u64::MAX % bound;
    loop {
        let number = getrandom::u64().ok()?;
        if number < fair {
            return usize::try_from(number % bound).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn cn_131_every_order_comes_up() {
        let mut orders = HashSet::new();
        // That one of the 24 is missing after so many is less likely than a broken machine.
        for _ in 0..5_000 {
            let mut items = [1, 2, 3, 4];
            shuffle(&mut items);
            orders.insert(items);
        }
        assert_eq!(orders.len(), 24);
        shuffle::<u8>(&mut []);
    }
}
