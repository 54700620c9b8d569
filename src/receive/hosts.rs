//! Which of several hosts will do: one that lacks WAL or is behind is passed over until the others were tried.

use std::borrow::Cow;

use crate::conninfo::{Config, Host};

/// The hosts that were tried in vain since an archive last got something.
#[derive(Debug, Default)]
pub(super) struct PassedOver(Vec<Host>);

impl PassedOver {
    /// The configuration with the hosts that are left.
    pub(super) fn left_of<'a>(&self, config: &'a Config) -> Cow<'a, Config> {
        if self.0.is_empty() {
            return Cow::Borrowed(config);
        }
        let mut left = config.clone();
        left.hosts.retain(|host| !self.0.contains(host));
        Cow::Owned(left)
    }

    /// Passes over that host too. Whether others are left.
    pub(super) fn add(&mut self, host: &Host, config: &Config) -> bool {
        if !self.0.contains(host) {
            self.0.push(host.clone());
        }
        config.hosts.iter().any(|host| !self.0.contains(host))
    }

    /// All hosts have their turn again.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rw_192_every_host_is_tried_before_one_is_tried_again() {
        let config: Config = "host=a,b,b port=1,2,2 user=u".parse().unwrap();
        let mut passed_over = PassedOver::default();
        let left = |passed_over: &PassedOver| {
            passed_over
                .left_of(&config)
                .hosts
                .iter()
                .map(|host| host.name.clone().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(left(&passed_over), ["a", "b", "b"]);
        assert!(passed_over.add(&config.hosts[0], &config));
        assert_eq!(left(&passed_over), ["b", "b"]);
        assert!(!passed_over.add(&config.hosts[1], &config));
        passed_over.clear();
        assert_eq!(left(&passed_over).len(), 3);
    }
}
