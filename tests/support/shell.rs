//! A shell in an empty folder, with dripfeed and some targets on the `PATH`.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

use super::tap::{Ran, binary};

/// A target that echoes the states it gets, as Singer targets do.
const TARGET: &str = "#!/bin/sh\nsed -n 's/^{\"type\":\"STATE\",\"value\":\\(.*\\)}$/\\1/p'\n";

/// The programs beside dripfeed.
const PROGRAMS: [(&str, &str); 3] =
    [("target-jsonl", TARGET), ("target-postgres", TARGET), ("crontab", "#!/bin/sh\ncat\n")];

pub struct Shell {
    dir: TempDir,
    /// Where commands run.
    pub folder: PathBuf,
}

/// A port that nothing listens on, below those that the system gives to others.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 9000).unwrap();
    loop {
        let port = 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Shell {
    pub fn new() -> Shell {
        let dir = tempfile::tempdir().unwrap();
        let (bin, folder) = (dir.path().join("bin"), dir.path().join("work"));
        std::fs::create_dir(&bin).unwrap();
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(binary(), bin.join("dripfeed")).unwrap();
        for (name, text) in PROGRAMS {
            let program = bin.join(name);
            std::fs::write(&program, text).unwrap();
            std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        Shell { dir, folder }
    }

    /// Runs a script to its end.
    pub fn run(&self, script: &str) -> Ran {
        let path = format!("{}:{}", self.dir.path().join("bin").display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(script).current_dir(&self.folder).stdin(Stdio::null());
        shell.env("PATH", path).env("XDG_STATE_HOME", self.folder.join("xdg")).env_remove("CI");
        Ran::of(&shell.output().unwrap())
    }
}
