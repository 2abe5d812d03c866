//! A small file system.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::folder::Folder;
use super::root::can;

/// A mounted file system, which is unmounted at the end.
pub struct Disk {
    pub kind: &'static str,
    folder: Folder,
}

impl Disk {
    /// One of each kind that can be mounted here, of about a megabyte.
    pub fn every_kind() -> Vec<Self> {
        ["tmpfs", "ext4"].into_iter().filter_map(Self::of).collect()
    }

    pub fn of(kind: &'static str) -> Option<Self> {
        let folder = Folder::new();
        let image = folder.path("image");
        let at = folder.path("mounted");
        fs::create_dir(&at).unwrap();
        let script = match kind {
            "tmpfs" => "exec mount -t tmpfs -o size=1m,mode=777 tmpfs \"$1\"",
            _ => {
                "truncate -s 1m \"$0\" && mkfs.ext4 -q -b 4096 -m 0 -O ^has_journal \"$0\" \
                 && exec mount -o loop \"$0\" \"$1\""
            }
        };
        let words = [
            "sh",
            "-c",
            script,
            image.to_str().unwrap(),
            at.to_str().unwrap(),
        ];
        can(&format!("a mount of {kind}"), &words).then_some(Self { kind, folder })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path("mounted").join(name)
    }

    /// Fills it up, and frees so many blocks of 4096 bytes again.
    pub fn leave_blocks(&self, blocks: usize) {
        let mut filler = fs::File::create(self.path("filler")).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
        let length = filler.metadata().unwrap().len() - 4096 * blocks as u64;
        filler.set_len(length / 4096 * 4096).unwrap();
        // What was written is on the disk, and what was freed is free.
        filler.sync_all().unwrap();
    }

    pub fn free(&self) {
        fs::remove_file(self.path("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path("")).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}
