//! A container's id out of a control group's path.

/// Docker, containerd, CRI-O and Podman name containers by 32 random bytes in hexadecimal.
const CONTAINER_ID_CHARS: usize = 64;
/// Below it each user makes groups of its own, by whatever name (systemd.special(7), delegation).
const USERS_OWN: &str = "user.slice";

/// The control group's path in the text of `/proc/<pid>/cgroup`: that of the unified hierarchy (cgroups(7)), else the
/// first that names a container, else the first.
pub(crate) fn path(text: &str) -> Option<&str> {
    let paths = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
    // A hybrid system's unified hierarchy is there and empty: `0::/`.
    unified
        .filter(|path| *path != "/")
        .or_else(|| paths().find(|path| container_id(path).is_some()))
        .or(unified)
        .or_else(|| paths().next())
}

/// The id of the container that the path is of: `/docker/<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`,
/// `crio-<id>.scope`, `libpod-<id>.scope`, `…:cri-containerd:<id>`, `/kubepods/…/<id>`.
///
/// None where the path names two of them: a container in a container, or somebody who forges. None of a name below
/// `user.slice`: whoever logs in may make one there, so a rootless container has no id.
pub(crate) fn container_id(path: &str) -> Option<&str> {
    let mut ids = path.split('/').take_while(|segment| *segment != USERS_OWN).filter_map(segment_id);
    let id = ids.next()?;
    ids.all(|other| other == id).then_some(id)
}

fn segment_id(segment: &str) -> Option<&str> {
    let name = segment.strip_suffix(".scope").unwrap_or(segment);
    let id = name.rsplit(['-', ':']).next().unwrap_or(name);
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (id.len() == CONTAINER_ID_CHARS && id.bytes().all(is_hex)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> String {
        "0123456789abcdef".repeat(4)
    }

    #[test]
    fn finds_the_id_in_each_form() {
        let id = id();
        for path in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/system.slice/docker-{id}.scope/init.scope"),
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("/kubepods.slice/kubepods-pod1.slice/crio-{id}.scope"),
            format!("/kubepods/besteffort/pod2c48913c-b29f-11e7-9350-020968147796/{id}"),
            format!("/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:{id}"),
            format!("/machine.slice/libpod-{id}.scope/container"),
            // A whole system in a container: who logs in there is in that container.
            format!("/docker/{id}/user.slice/user-1000.slice/session-3.scope"),
        ] {
            assert_eq!(container_id(&path), Some(id.as_str()), "{path}");
        }
    }

    #[test]
    fn finds_none_where_there_is_none_or_two() {
        let (id, other) = (id(), "f".repeat(64));
        for path in [
            "/".to_owned(),
            "/user.slice/user-1000.slice/session-3.scope".to_owned(),
            format!("/docker/{}", &id[1..]),
            format!("/docker/{id}0"),
            format!("/docker/{}", id.to_uppercase()),
            format!("/docker/{id}/docker/{other}"),
        ] {
            assert_eq!(container_id(&path), None, "{path}");
        }
    }

    #[test]
    fn reads_no_id_that_a_user_may_have_made() {
        let (id, other) = (id(), "f".repeat(64));
        for path in [
            format!("/user.slice/user-1000.slice/libpod-{id}.scope/container"),
            format!("/user.slice/user-1000.slice/user@1000.service/docker-{id}.scope"),
            format!("/user.slice/{id}"),
        ] {
            assert_eq!(container_id(&path), None, "{path}");
        }
        let within = format!("/docker/{id}/user.slice/user-0.slice/docker-{other}.scope");
        assert_eq!(container_id(&within), Some(id.as_str()));
        // A name that only looks like the slice is none.
        assert_eq!(container_id(&format!("/my-user.slice/{id}")), Some(id.as_str()));
    }

    #[test]
    fn takes_the_unified_path_or_the_first_that_names_a_container() {
        let docker = format!("/docker/{}", id());
        assert_eq!(path("0::/user.slice\n"), Some("/user.slice"));
        assert_eq!(path(&format!("12:cpu:/x\n1:name=systemd:{docker}\n0::/\n")), Some(docker.as_str()));
        assert_eq!(path("12:cpu:/x\n1:name=systemd:/y\n0::/\n"), Some("/"));
        assert_eq!(path("12:cpu,cpuacct:/a:b\n"), Some("/a:b"));
        assert_eq!(path(""), None);
        assert_eq!(path("nonsense"), None);
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in ".{0,300}") {
            let _ = path(&text).and_then(container_id);
            let _ = container_id(&text);
        }
    }
}
