//! Stand-ins for what Ubuntu publishes: an ISO with the paths of its live-server medium for arm64,
//! and a netboot archive. Kernels and loaders in them have true headers and nothing to run.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::BINARY;
use crate::support::system::run;
use serde_json::Value;
use tempfile::TempDir;

pub const HWE: &str = "6.17.0-14-generic";
pub const GA: &str = "6.8.0-100-generic";
const AARCH64: u16 = 0xaa64;
pub const X86_64: u16 = 0x8664;

/// The name of the ISO, as Ubuntu calls it, and the name of the image that comes of it.
pub const ISO: &str = "ubuntu-24.04.4-live-server-arm64.iso";
pub const NAME: &str = "ubuntu-24.04.4";
pub const ARCHIVE: &str = "ubuntu-24.04.4-netboot-arm64.tar.gz";
const VOLUME: &str = "Ubuntu-Server 24.04.4 LTS arm64";

/// What [`Folder::sum`] gives in no case.
pub const OTHER_SUM: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// An EFI program for that machine, with this behind its header.
pub fn program(machine: u16, content: &str) -> Vec<u8> {
    let mut bytes = vec![0; 0x40];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x40;
    bytes.extend(b"PE\0\0");
    bytes.extend(machine.to_le_bytes());
    bytes.extend(content.as_bytes());
    bytes
}

pub fn loader(content: &str) -> Vec<u8> {
    program(AARCH64, content)
}

/// An uncompressed kernel for arm64 (`Image`) of that version.
pub fn kernel(version: &str) -> Vec<u8> {
    // The first text is in a kernel, too, and is no version.
    let banners = format!("Linux version %s (%s)\nLinux version {version} (buildd@bos03) #14\n");
    let mut bytes = loader(&banners);
    bytes[0x38..0x3c].copy_from_slice(b"ARM\x64");
    bytes
}

/// One that unpacks itself (`zboot`), with its signature behind the payload.
pub fn unpacking_kernel(version: &str, compress: &[&str]) -> Vec<u8> {
    let payload = packed(compress, &kernel(version));
    let mut bytes = loader(&" ".repeat(100));
    bytes[4..8].copy_from_slice(b"zimg");
    let at = u32::try_from(bytes.len()).unwrap();
    let length = u32::try_from(payload.len()).unwrap();
    bytes[8..12].copy_from_slice(&at.to_le_bytes());
    bytes[12..16].copy_from_slice(&length.to_le_bytes());
    bytes.extend(payload);
    bytes.extend(b"a signature");
    bytes
}

/// What a program that compresses makes of these bytes.
pub fn packed(compress: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let mut command = Command::new(compress[0]);
    let packed = command.args(&compress[1..]).stdin(file).output().unwrap();
    assert!(packed.status.success(), "{packed:?}");
    packed.stdout
}

/// A folder with media and a data folder.
pub struct Folder(TempDir);

impl Folder {
    /// With nothing in it but an empty data folder.
    pub fn empty() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir(folder.path("data")).unwrap();
        folder
    }

    /// With Ubuntu's ISO and archive.
    pub fn new() -> Self {
        let folder = Self::empty();
        folder.ubuntu(ISO, HWE);
        folder.archive(ARCHIVE, "");
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn boot(&self) -> PathBuf {
        self.path("data/boot")
    }

    /// A file of the image [`NAME`].
    pub fn of_image(&self, name: &str) -> PathBuf {
        self.boot().join("images").join(NAME).join(name)
    }

    pub fn record(&self) -> Value {
        serde_json::from_slice(&fs::read(self.of_image("image.json")).unwrap()).unwrap()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// An ISO with these files.
    pub fn iso(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let (tree, iso) = (self.path("tree"), self.path(name));
        for (path, bytes) in files {
            self.write(&format!("tree/{path}"), bytes);
        }
        let arguments = ["-as", "mkisofs", "-quiet", "-r", "-J", "-V", VOLUME, "-o"];
        let paths = [iso.to_str().unwrap(), tree.to_str().unwrap()];
        assert!(run("xorriso", &[&arguments[..], &paths].concat()));
        fs::remove_dir_all(tree).unwrap();
        iso
    }

    /// One like Ubuntu's, with two kernels.
    pub fn ubuntu(&self, name: &str, version: &str) -> PathBuf {
        let gzip = |version| packed(&["gzip", "-n"], &kernel(version));
        let initrd = format!("initrd {version}");
        let files: [(&str, &[u8]); 6] = [
            ("casper/vmlinuz", &gzip(GA)),
            ("casper/initrd", b"the initrd of the GA kernel"),
            ("casper/hwe-vmlinuz", &gzip(version)),
            ("casper/hwe-initrd", initrd.as_bytes()),
            ("casper/filesystem.squashfs", &vec![7; 1 << 20]),
            ("EFI/boot/bootaa64.efi", &loader("shim of the ISO")),
        ];
        self.iso(name, &files)
    }

    /// A netboot archive whose loaders have this in them.
    pub fn archive(&self, name: &str, content: &str) -> PathBuf {
        let files = [
            ("bootaa64.efi", loader(&format!("shim{content}"))),
            ("grubaa64.efi", loader(&format!("GRUB{content}"))),
            ("linux", packed(&["gzip", "-n"], &kernel(GA))),
            ("initrd", b"the initrd of the archive".to_vec()),
            ("grub/grub.cfg", b"menuentry\n".to_vec()),
        ];
        for (path, bytes) in files {
            self.write(&format!("packed/arm64/{path}"), &bytes);
        }
        let (tree, archive) = (self.path("packed"), self.path(name));
        let paths = [archive.to_str().unwrap(), "-C", tree.to_str().unwrap()];
        assert!(run("tar", &[&["-czf"], &paths[..], &["./arm64"]].concat()));
        fs::remove_dir_all(tree).unwrap();
        archive
    }

    /// The SHA-256 sum of a file, by another program than ours.
    pub fn sum(&self, path: &Path) -> String {
        let sum = Command::new("sha256sum").arg(path).output().unwrap();
        String::from_utf8(sum.stdout).unwrap()[..64].to_owned()
    }

    /// `gb10-provision-api ARGUMENTS` in this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("DATA_PATH", self.path("data"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    /// `gb10-provision-api boot stage ARGUMENTS`.
    pub fn stage(&self, arguments: &[&str]) -> Run {
        self.run(&[&["boot", "stage"], arguments].concat())
    }

    /// What there is in the boot folder: each path with its mode and, of a file, what it holds. Not
    /// when an image was staged.
    pub fn snapshot(&self) -> Vec<(String, u32, Vec<u8>)> {
        let (mut found, mut folders) = (Vec::new(), vec![self.boot()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                let mut content = Vec::new();
                match metadata.is_dir() {
                    true => folders.push(path.clone()),
                    false => content = fs::read(&path).unwrap(),
                }
                if path.ends_with("image.json") {
                    let mut record: Value = serde_json::from_slice(&content).unwrap();
                    record.as_object_mut().unwrap().remove("staged_at");
                    content = record.to_string().into_bytes();
                }
                let name = path.strip_prefix(self.boot()).unwrap();
                found.push((
                    name.to_str().unwrap().to_owned(),
                    metadata.mode() & 0o7777,
                    content,
                ));
            }
        }
        found.sort();
        found
    }

    /// The paths in the boot folder.
    pub fn names(&self) -> Vec<String> {
        let paths = self.snapshot().into_iter().map(|(path, ..)| path);
        paths.collect()
    }
}

#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub output: String,
    pub errors: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            output: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// It did what it should, and said nothing else.
    pub fn well(self) -> Self {
        assert_eq!((self.code, self.errors.as_str()), (Some(0), ""), "{self:?}");
        self
    }

    /// It failed, and said all of this.
    pub fn refused(self, parts: &[&str]) -> Self {
        assert_ne!(self.code, Some(0), "{self:?}");
        assert!(!self.errors.contains("panicked"), "{self:?}");
        for part in parts {
            assert!(self.errors.contains(part), "no {part:?} in {self:?}");
        }
        self
    }
}
