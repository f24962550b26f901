//! What is carried to a node: one tar with the plan and that node's private files alone, with sums of
//! its own and a README for the person who carries it. The same inputs give the same bytes. It reads
//! plan/ and secrets/ as they lie there, and knows nothing of how they were made.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use der::zeroize::Zeroizing;

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::digest::sha256;

/// A bundle: what it is to be called, and its bytes, which hold private keys.
pub struct Bundle {
    /// `carota-<id>-<node>.tar`.
    pub name: String,
    /// The tar.
    pub bytes: Zeroizing<Vec<u8>>,
    /// How many private files are in it.
    pub private_files: usize,
}

/// A plan that was read and found whole.
pub struct Source {
    id: String,
    digest: String,
    files: BTreeMap<String, File>,
    secrets: PathBuf,
}

/// A file of a bundle.
struct File {
    bytes: Vec<u8>,
    mode: u32,
}

impl Source {
    /// Reads the plan beside a cluster.toml. Every file must be the one in SHA256SUMS, and there may be
    /// no other.
    pub fn read(folder: &Path) -> Result<Source> {
        let plan = folder.join("plan");
        let mut files = BTreeMap::new();
        read_below(&plan, "", &mut files)
            .map_err(|e| unusable(format!("the plan cannot be read: {}", e.kind()), "plan"))?;
        let sums = text_of(&files, "SHA256SUMS")?.to_owned();
        let mut unlisted: BTreeSet<&str> = files.keys().map(String::as_str).collect();
        unlisted.remove("SHA256SUMS");
        for line in sums.lines() {
            let Some((hash, path)) = line.split_once("  ./") else {
                return Err(unusable("a line is not a sum".into(), "plan/SHA256SUMS"));
            };
            if files.get(path).is_none_or(|f| sha256(&f.bytes) != hash) {
                return Err(unusable(
                    "the file is not the one that was compiled".into(),
                    &format!("plan/{path}"),
                ));
            }
            unlisted.remove(path);
        }
        if let Some(path) = unlisted.first() {
            return Err(unusable(
                "the file is not part of the plan".into(),
                &format!("plan/{path}"),
            ));
        }
        let phase = text_of(&files, "00-preflight/PHASE")?;
        let id = phase.lines().find_map(|l| l.strip_prefix("id\t"));
        Ok(Source {
            id: id.unwrap_or("rotation").to_owned(),
            digest: sha256(&sums),
            files,
            secrets: folder.join("secrets/nodes"),
        })
    }

    /// The nodes that the plan has anything for.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<&str> {
        self.tables("NODES")
            .flat_map(|(_, text)| text.lines().filter_map(|l| l.split_once('\t')))
            .map(|(_, node)| node)
            .collect()
    }

    /// Every phase's table of a name, by the phase's folder.
    fn tables(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(move |(path, file)| {
            let phase = path.strip_suffix(name)?.strip_suffix('/')?;
            Some((phase, std::str::from_utf8(&file.bytes).ok()?))
        })
    }

    /// The private files that the plan's scripts want on a node, below `secrets/nodes/<node>/`.
    fn wanted(&self, node: &str) -> BTreeSet<String> {
        let sets: BTreeMap<&str, BTreeSet<&str>> = self
            .tables("NODES")
            .map(|(phase, text)| {
                let rows = text.lines().filter_map(|l| l.split_once('\t'));
                let mine = rows.filter(|(_, n)| *n == node).map(|(set, _)| set);
                (phase, mine.collect())
            })
            .collect();
        let mut out = BTreeSet::new();
        for (phase, text) in self.tables("CHANGES") {
            for line in text.lines() {
                let columns: Vec<&str> = line.split('\t').collect();
                if let [_, set, "write", path, .., "new"] = columns[..]
                    && sets.get(phase).is_some_and(|mine| mine.contains(set))
                {
                    out.insert(format!("{phase}{path}"));
                }
            }
        }
        out
    }

    /// The bundle of a node.
    pub fn bundle(&self, node: &str) -> Result<Bundle> {
        if !self.nodes().contains(node) {
            let known: Vec<&str> = self.nodes().into_iter().collect();
            return Err(Diagnostic::new(
                Code::TomlValue,
                format!("the plan has nothing for a node named `{node}`"),
                format!("its nodes are {}", known.join(", ")),
            ));
        }
        let name = format!("carota-{}-{node}", self.id);
        let mut files: BTreeMap<String, (&[u8], u32)> = BTreeMap::new();
        for (path, file) in &self.files {
            files.insert(format!("plan/{path}"), (file.bytes.as_slice(), file.mode));
        }
        let mut private = BTreeMap::new();
        for path in self.wanted(node) {
            let path = format!("secrets/nodes/{node}/{path}");
            let at = self.secrets.join(&path["secrets/nodes/".len()..]);
            let bytes = fs::read(&at).map_err(|e| {
                Diagnostic::new(
                    Code::KeyringMissing,
                    format!("a private file of {node} cannot be read: {}", e.kind()),
                    "bundle where the keyring is: `carota compile` writes secrets/ there",
                )
                .at(Place::start_of(&path))
            })?;
            private.insert(path, Zeroizing::new(bytes));
        }
        for (path, bytes) in &private {
            files.insert(path.clone(), (bytes.as_slice(), 0o600));
        }
        let readme = self.readme(node, private.len());
        files.insert("README".into(), (readme.as_bytes(), 0o644));
        let sums: String = files
            .iter()
            .map(|(path, (bytes, _))| format!("{}  ./{path}\n", sha256(bytes)))
            .collect();
        files.insert("SHA256SUMS".into(), (sums.as_bytes(), 0o644));
        Ok(Bundle {
            bytes: tar(&name, &files),
            name: format!("{name}.tar"),
            private_files: private.len(),
        })
    }

    fn readme(&self, node: &str, private: usize) -> String {
        let (id, digest) = (&self.id, &self.digest);
        let keys = match private {
            0 => "It holds no private key.".to_owned(),
            n => format!(
                "It holds private keys ({n} files below secrets/) of {node} and of no other node.\n\
                 Whoever has them can act as the cluster's CA: carry it encrypted, keep no copy, and\n\
                 remove it from the node when the rotation is done."
            ),
        };
        format!(
            "Rotation {id}: what is carried to the node {node}, and only there.\n\n\
             {keys}\n\n\
             On {node}, as root, where this was unpacked:\n\n\
             \x20 1. sha256sum -c SHA256SUMS         nothing was lost or changed on the way\n\
             \x20 2. sha256sum plan/SHA256SUMS       compare with the digest that was approved; here it is\n\
             \x20    {digest}\n\
             \x20 3. read plan/README.md             it names the phases, their order and their gates;\n\
             \x20    plan/report.html shows the same in a browser, with every diff\n\
             \x20 4. of each phase, in its turn:\n\
             \x20      sh plan/NN-name/apply.sh --digest APPROVED --dry-run\n\
             \x20      sh plan/NN-name/apply.sh --digest APPROVED\n\
             \x20      sh plan/NN-name/verify.sh\n\
             \x20    and the way back: sh plan/NN-name/rollback.sh\n\n\
             sh plan/NN-name/apply.sh --status tells which phases are done here. The scripts need a POSIX\n\
             shell, coreutils, awk, sed and find; everything they say goes to /var/lib/carota as well.\n"
        )
    }
}

fn unusable(reason: String, file: &str) -> Diagnostic {
    Diagnostic::new(
        Code::OutputForeign,
        reason,
        "compile again, and have the plan approved that comes out",
    )
    .at(Place::start_of(file))
}

fn text_of<'a>(files: &'a BTreeMap<String, File>, path: &str) -> Result<&'a str> {
    files
        .get(path)
        .and_then(|f| std::str::from_utf8(&f.bytes).ok())
        .ok_or_else(|| unusable("the file is missing".into(), &format!("plan/{path}")))
}

/// Every file below a folder by its relative path. A link is none.
fn read_below(folder: &Path, below: &str, out: &mut BTreeMap<String, File>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string();
        let name = name.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let path = format!("{below}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read_below(&entry.path(), &format!("{path}/"), out)?;
        } else if kind.is_file() {
            let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            let bytes = fs::read(entry.path())?;
            out.insert(path, File { bytes, mode });
        } else {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(())
}

const BLOCK: usize = 512;

/// A tar of files below one folder: sorted, folders first, of nobody's and of no time.
fn tar(top: &str, files: &BTreeMap<String, (&[u8], u32)>) -> Zeroizing<Vec<u8>> {
    let folders: BTreeSet<String> = files
        .keys()
        .flat_map(|path| {
            path.match_indices('/')
                .map(|(at, _)| path[..=at].to_owned())
        })
        .chain([String::new()])
        .collect();
    // Room for all of it: no copy with keys is left behind where the vector grew.
    let size: usize = files.values().map(|(b, _)| b.len() + 4 * BLOCK).sum();
    let mut out = Vec::with_capacity(size + (folders.len() + 1) * 4 * BLOCK);
    for folder in folders {
        let mode = if folder.starts_with("secrets/") {
            0o700
        } else {
            0o755
        };
        member(&mut out, &format!("{top}/{folder}"), mode, b'5', &[]);
    }
    for (path, (bytes, mode)) in files {
        member(&mut out, &format!("{top}/{path}"), *mode, b'0', bytes);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    Zeroizing::new(out)
}

/// One member. A name that the header has no room for goes before it, as GNU tar writes it; busybox and
/// bsdtar read that too.
fn member(out: &mut Vec<u8>, path: &str, mode: u32, kind: u8, bytes: &[u8]) {
    let (prefix, name) = split(path).unwrap_or_else(|| {
        header(out, ("", "././@LongLink"), 0o644, b'L', path.len() + 1);
        out.extend_from_slice(path.as_bytes());
        out.push(0);
        fill(out);
        ("", first_bytes(path, 100))
    });
    header(out, (prefix, name), mode, kind, bytes.len());
    out.extend_from_slice(bytes);
    fill(out);
}

/// A path as the header has it: up to 155 bytes, a slash between, up to 100 bytes.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= 100 {
        return Some(("", path));
    }
    path.match_indices('/')
        .map(|(at, _)| (&path[..at], &path[at + 1..]))
        .find(|(prefix, name)| prefix.len() <= 155 && (1..=100).contains(&name.len()))
}

fn first_bytes(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn header(out: &mut Vec<u8>, (prefix, name): (&str, &str), mode: u32, kind: u8, size: usize) {
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(345, prefix.as_bytes());
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&block);
}

/// Members begin at whole blocks.
fn fill(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_where_the_header_has_room() {
        let (short, deep) = ("a".repeat(100), format!("{}/b", "a".repeat(100)));
        assert_eq!(split(&short), Some(("", &*short)));
        assert_eq!(split(&deep), Some((&*short, "b")));
        assert_eq!(split(&"a".repeat(101)), None);
        assert_eq!(split(&format!("{}/b", "a".repeat(156))), None);
        assert_eq!(split(&format!("{}/", "a".repeat(100))), None);
    }
}
