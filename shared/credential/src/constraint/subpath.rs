//! `subpath {root}`: an absolute path at or below a root, by segments.
//!
//! check: the argument is a string that begins with `/`, without NUL, backslash or a segment `..`; empty and `.`
//! segments fall away; what remains begins with the root's segments. subsumes: the child's root does.

use super::ConstraintError;

/// A root in normal form: `/`, or `/`-led segments, none empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subpath(Box<str>);

impl Subpath {
    pub(super) fn parse(root: &str) -> Result<Self, ConstraintError> {
        let normal = root == "/"
            || segments(root).is_some() && root.split('/').skip(1).all(|segment| !segment.is_empty() && segment != ".");
        if !normal {
            return Err(ConstraintError::Malformed { reason: "`root` is not an absolute path in normal form" });
        }
        Ok(Self(root.into()))
    }

    /// The root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path lies at or below the root.
    pub fn admits(&self, path: &str) -> bool {
        let (Some(mut path), Some(mut root)) = (segments(path), segments(&self.0)) else { return false };
        root.all(|segment| path.next() == Some(segment))
    }

    pub(super) fn subsumes(&self, child: &Self) -> bool {
        self.admits(&child.0)
    }
}

/// The segments of an absolute path without `..`, the empty ones and `.` left out; none for any other text.
fn segments(path: &str) -> Option<impl Iterator<Item = &str>> {
    let below = path.strip_prefix('/')?;
    if path.contains(['\0', '\\']) || below.split('/').any(|segment| segment == "..") {
        return None;
    }
    Some(below.split('/').filter(|segment| !segment.is_empty() && *segment != "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_by_segments() {
        let root = Subpath::parse("/data/reports").unwrap();
        for path in
            ["/data/reports", "/data/reports/", "/data/reports/q3.pdf", "/data//./reports/a/b", "//data/reports/x"]
        {
            assert!(root.admits(path), "{path}");
        }
        for path in [
            "/data/reports2",
            "/data",
            "/",
            "",
            "data/reports/a",
            "/data/reports/../secret",
            "/data/reports/..",
            "/data/reports/a\0",
            "/data/reports\\..\\secret",
            "/data/Reports/a",
        ] {
            assert!(!root.admits(path), "{path}");
        }
        assert!(Subpath::parse("/").unwrap().admits("/etc/passwd"));
    }

    #[test]
    fn rejects_a_root_that_is_not_normal() {
        for root in ["", "data", "/data/", "//data", "/a/../b", "/a/./b", "/a\0", "/.", "/..", "C:\\data"] {
            assert!(Subpath::parse(root).is_err(), "{root:?}");
        }
    }
}
