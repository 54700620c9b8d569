//! What the system allows the process, adjusted to what a backup needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes all the file descriptors that the user may have: the customary 1024 are there for programs that use
/// `select`, and more of them let more files stay open until they are synced.
pub(super) fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // The backup works with what there is; it is only slower.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}
