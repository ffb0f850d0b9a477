//! Network namespaces by name: `/run/netns/NAME`, as `ip netns` keeps them.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::{io, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs `work` on a thread of its own inside of the namespace. Sockets and devices made there belong to it for good.
///
/// # Errors
/// If the namespace cannot be entered (root only), or `work`'s own.
///
/// # Panics
/// If `work` does.
pub fn inside<T: Send>(
    namespace: &str,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let file = File::open(Path::new("/run/netns").join(namespace))?;
    let enter = || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    };
    thread::scope(|scope| match scope.spawn(enter).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
