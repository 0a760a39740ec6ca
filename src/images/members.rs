//! What is in a medium, by the listing of bsdtar. A link in it has no content of its own: the file
//! that it leads to is what is read instead.

/// How many links are followed.
const LINKS: usize = 8;

/// The lines of a listing. The path stands last in each, behind columns that differ, and is looked
/// for there.
#[derive(Debug, Default)]
pub(super) struct Members(Vec<Member>);

#[derive(Debug)]
struct Member {
    /// The columns and the path.
    line: String,
    leads_to: Option<Target>,
}

/// Where a link leads.
#[derive(Debug)]
enum Target {
    /// To a path of the medium: another name of that file.
    Same(String),
    /// To a path from the folder of the link.
    From(String),
}

impl Members {
    /// Takes what `bsdtar -tv` prints.
    pub(super) fn read(listing: &str) -> Self {
        let members = listing.lines().map(|line| {
            let same = line.split_once(" link to ");
            let from = line.split_once(" -> ");
            let (line, leads_to) = match (same, from) {
                (Some((line, target)), _) => (line, Some(Target::Same(target.to_owned()))),
                (None, Some((line, target))) => (line, Some(Target::From(target.to_owned()))),
                (None, None) => (line, None),
            };
            Member {
                line: line.to_owned(),
                leads_to,
            }
        });
        Self(members.collect())
    }

    /// The path of a file, as it is listed.
    pub(super) fn find(&self, path: &str) -> Option<&str> {
        let mut path = path.to_owned();
        for _ in 0..=LINKS {
            let (member, name) = self.0.iter().find_map(|it| Some((it, it.name(&path)?)))?;
            path = match &member.leads_to {
                None => return Some(name),
                Some(Target::Same(target)) => plain("", target),
                Some(Target::From(target)) => plain(folder(&path), target),
            };
        }
        None
    }
}

impl Member {
    /// The path as it stands here, if it is that one. Media without Rock Ridge have capitals, and
    /// archives mostly a dot in front.
    fn name(&self, path: &str) -> Option<&str> {
        let at = self.line.len().checked_sub(path.len())?;
        let (before, name) = self.line.split_at_checked(at)?;
        let columns = before.strip_suffix("./").unwrap_or(before);
        let is_it = name.eq_ignore_ascii_case(path) && columns.ends_with(' ');
        is_it.then(|| &self.line[columns.len()..])
    }
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A path from that folder, without `.` and `..`.
fn plain(folder: &str, path: &str) -> String {
    let folder = if path.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
