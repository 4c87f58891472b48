//! What each system tells in a way of its own. Everything that is not the same on Linux and macOS is here.
//!
//! Output: the boot id, and the file behind stderr; nothing where a system does not tell. Called by `pace::store` and
//! `run::log`.

use std::path::PathBuf;

/// The id of this boot of the machine; empty if the system has none.
pub fn boot_id() -> String {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    // The standard library and rustix have no sysctl; a process asks once.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let id = std::process::Command::new("/usr/sbin/sysctl")
        .args(["-n", "kern.bootsessionuuid"])
        .stderr(std::process::Stdio::null())
        .output()
        .ok()
        .and_then(|printed| String::from_utf8(printed.stdout).ok());
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// The path of the file that stderr goes to.
pub fn path_of_stderr() -> Option<PathBuf> {
    #[cfg(target_vendor = "apple")]
    {
        let path = rustix::fs::getpath(std::io::stderr()).ok()?;
        path.into_string().ok().map(PathBuf::from)
    }
    #[cfg(not(target_vendor = "apple"))]
    std::fs::read_link("/proc/self/fd/2").ok()
}
