//! Whether a plugin's library belongs to the user or the system: it runs with the user's rights. The same goes for a
//! Python that is started, and for runtimes that the user has not named.

use crate::error::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Refuses a plugin's library that another user could have put there.
///
/// # Errors
/// `Plugin` with the reason.
pub(super) fn check(library: &Path) -> Result<()> {
    require_closed(library).map_err(|fault| {
        Error::new(ErrorKind::Plugin, format!("plugin `{}` is not trusted", library.display()))
            .with_cause(fault.to_string())
            .with_hint(format!(
                "Make `{}` your own and close it to others with `chmod go-w`, or take it out of the plugin folders.",
                fault.place.display()
            ))
    })
}

/// Why something is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    place: PathBuf,
    reason: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` {}", self.place.display(), self.reason)
    }
}

/// Refuses a file or a folder that another user could have put there: it or its folder belongs to neither this user nor
/// root, or others may write to it. A group may write if its number is the owner's, as on systems where each user has a
/// group of their own.
///
/// # Errors
/// The path that is open to others, and why.
pub(super) fn require_closed(path: &Path) -> Result<(), Fault> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let user = rustix::process::geteuid().as_raw();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A link is as safe as its target, and the target as safe as its folder.
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let places = [folder, real.parent().unwrap_or(folder), &real];
        for place in places {
            // What cannot be examined cannot be opened either, and opening gives the better error.
            let Ok(metadata) = std::fs::metadata(place) else { continue };
            let rights = Rights { owner: metadata.uid(), group: metadata.gid(), mode: metadata.mode() };
            if let Some(reason) = rights.fault(user) {
                return Err(Fault { place: place.to_owned(), reason });
            }
        }
    }
    let _ = path;
    Ok(())
}

/// The owner of a file or a folder, and who may write to it.
#[cfg(unix)]
struct Rights {
    owner: u32,
    group: u32,
    mode: u32,
}

#[cfg(unix)]
impl Rights {
    /// Why anyone other than `user` and root could change it.
    fn fault(&self, user: u32) -> Option<String> {
        const ROOT: u32 = 0;
        if self.owner != user && self.owner != ROOT {
            return Some(format!("belongs to user {}", self.owner));
        }
        if self.mode & 0o002 != 0 {
            return Some("can be written by everybody".to_owned());
        }
        if self.mode & 0o020 != 0 && self.group != self.owner {
            return Some(format!("can be written by group {}", self.group));
        }
        None
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_the_users_own_and_roots_may_be_closed_to_others() {
        let fault = |owner, group, mode| Rights { owner, group, mode }.fault(1000);
        assert_eq!(fault(1000, 1000, 0o755), None);
        assert_eq!(fault(0, 0, 0o755), None);
        assert_eq!(fault(1000, 1000, 0o775), None);
        assert_eq!(fault(1000, 100, 0o775).unwrap(), "can be written by group 100");
        assert_eq!(fault(1000, 1000, 0o1777).unwrap(), "can be written by everybody");
        assert_eq!(fault(1001, 1001, 0o700).unwrap(), "belongs to user 1001");
    }

    #[test]
    fn the_folder_that_a_link_leads_to_counts_too() {
        let root = tempfile::tempdir().unwrap();
        let (own, open) = (root.path().join("own"), root.path().join("open"));
        std::fs::create_dir(&own).unwrap();
        std::fs::create_dir(&open).unwrap();
        std::fs::write(open.join("library"), "").unwrap();
        std::os::unix::fs::symlink(open.join("library"), own.join("link")).unwrap();
        assert_eq!(check(&own.join("link")), Ok(()));
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = check(&own.join("link")).unwrap_err();
        assert!(error.one_line().ends_with("open` can be written by everybody"), "{error:?}");
    }
}
