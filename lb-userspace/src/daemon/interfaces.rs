//! The program on the interfaces that the configuration names, as those come and go.
//!
//! An interface is known by its name: one that returns, or takes another's name, is the configured
//! one. Only a rename by itself cuts nothing off: the program stays on the renamed interface until
//! another has its name, the configuration names it no more, or the daemon starts again.

use std::collections::BTreeMap;

use crate::{
    config::{Attach, Config},
    control::{Control, ControlError},
    dataplane::kernel::{Kernel, KernelError, Mode},
    neighbour::{Link, Reach, View},
};

/// Said of an interface that has not been there since the start.
const ABSENT: &str = "not found; attached when it appears";
/// Said of an interface that was there.
const GONE: &str = "gone; attached again when it returns";

/// Attaches to all, and leaves the others alone; says of each interface how.
pub fn attach_all(
    kernel: &mut Kernel,
    config: &Config,
    view: &View,
) -> Result<BTreeMap<String, String>, KernelError> {
    let names = config.node.interfaces.iter();
    let there: Vec<(&str, &Link)> = names
        .clone()
        .filter_map(|name| Some((name.as_str(), view.links.get(name)?)))
        .collect();
    match config.node.attach {
        Attach::Native => put_on(kernel, &there, Mode::Native)?,
        Attach::Generic => put_on(kernel, &there, Mode::Generic)?,
        Attach::Auto => put_on_as_all_can(kernel, &there, config, view)?,
    }
    let mut conditions = BTreeMap::new();
    for name in names {
        let condition = if let Some(link) = view.links.get(name) {
            describe(None, kernel.mode(link.ifindex)?, link)
        } else {
            tracing::warn!("interface `{name}`: {ABSENT}");
            ABSENT.to_owned()
        };
        conditions.insert(name.clone(), condition);
    }
    Ok(conditions)
}

/// Interfaces have changed: attaches to those that are there, forgets those that are gone, and
/// tells whether all that are there are attached.
pub fn follow(control: &mut Control<Kernel>, view: &View) -> bool {
    let config = control.config().clone();
    let mut complete = true;
    for name in &config.node.interfaces {
        if let Some(link) = view.links.get(name) {
            complete &= follow_one(control, (name, link), &config, view);
        } else {
            miss(control, name);
        }
    }
    if let Err(error) = release(control, &config, view) {
        tracing::error!("{error}");
        complete = false;
    }
    complete
}

/// Takes over into a new view the interfaces that have only been renamed, under their old names.
pub fn keep_renamed(interfaces: &[String], before: &View, view: &mut View) {
    for name in interfaces {
        if view.links.contains_key(name) {
            continue;
        }
        let Some(old) = before.links.get(name) else {
            continue;
        };
        let is_it = |(now, link): &(&String, &Link)| {
            link.ifindex == old.ifindex && !interfaces.contains(now)
        };
        if let Some((now, link)) = view.links.iter().find(is_it) {
            tracing::debug!("interface `{name}`: called `{now}` now");
            let link = *link;
            view.links.insert(name.clone(), link);
        }
    }
}

/// Whether the program is in drivers.
pub fn are_native(kernel: &mut Kernel, config: &Config, view: &View) -> Result<bool, KernelError> {
    let modes = modes(kernel, indices(config, view).into_iter())?;
    Ok(modes.contains(&Mode::Native))
}

/// Lets no packet go where native XDP may lose it. Such a frame leaves by a driver that takes it
/// (`ndo_xdp_xmit`), which many do only while a program is on their own interface, and VLAN devices and
/// bridges never do; the kernel drops all others after the program has sent them.
pub fn confine(interfaces: &[String], view: &mut View) {
    let listed: Vec<u32> = interfaces
        .iter()
        .filter_map(|name| Some(view.links.get(name)?.ifindex))
        .collect();
    for reach in view.reach.values_mut() {
        if let Some(ifindex) = reach.egress().filter(|egress| !listed.contains(egress)) {
            *reach = Reach::Unlisted { ifindex };
        }
    }
}

/// As [`confine`], and tells of backends that were reached before.
pub fn confine_anew(interfaces: &[String], before: &View, view: &mut View) {
    confine(interfaces, view);
    let unlisted = view.reach.iter();
    let unlisted = unlisted.filter(|(_, reach)| matches!(reach, Reach::Unlisted { .. }));
    for (address, reach) in unlisted.filter(|(at, reach)| before.reach.get(at) != Some(reach)) {
        let index = reach.egress();
        let mut links = view.links.iter();
        let interface = links.find(|(_, link)| Some(link.ifindex) == index);
        let name = interface.map_or("?", |(name, _)| name);
        tracing::warn!(
            "backend {address} is routed over `{name}`, which is none of node.interfaces, so that \
             native XDP may lose what it sends there: the backend gets nothing until the interface is \
             listed, or the route is back",
        );
    }
}

/// Attaches to what another configuration adds; undone if one of them refuses.
pub fn change(
    control: &mut Control<Kernel>,
    config: &Config,
    view: &View,
) -> Result<(), ControlError> {
    let before = control.config().clone();
    for name in &config.node.interfaces {
        let Some(link) = view.links.get(name) else {
            continue;
        };
        match join(control.dataplane(), (name, link), config, view) {
            Ok(mode) => {
                let condition = describe(control.interface(name), mode, link);
                control.note_interface(name, &condition);
            }
            Err(error) => {
                leave(control, &before)?;
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// Takes the program off interfaces that `config` does not name.
pub fn leave(control: &mut Control<Kernel>, config: &Config) -> Result<(), ControlError> {
    let wanted = indices(config, control.view());
    control
        .dataplane()
        .detach_others(|ifindex| wanted.contains(&ifindex))?;
    control.forget_interfaces(&config.node.interfaces);
    Ok(())
}

fn indices(config: &Config, view: &View) -> Vec<u32> {
    let links = config
        .node
        .interfaces
        .iter()
        .filter_map(|name| view.links.get(name));
    links.map(|link| link.ifindex).collect()
}

fn follow_one(
    control: &mut Control<Kernel>,
    (name, link): (&str, &Link),
    config: &Config,
    view: &View,
) -> bool {
    match join(control.dataplane(), (name, link), config, view) {
        Ok(mode) => {
            let condition = describe(control.interface(name), mode, link);
            if control.note_interface(name, &condition) {
                tracing::info!("interface `{name}`: {condition}");
            }
            true
        }
        Err(error) => {
            if control.note_interface(name, &format!("not attached: {error}")) {
                tracing::error!("{error}; tried again every second");
            }
            false
        }
    }
}

fn miss(control: &mut Control<Kernel>, name: &str) {
    if control.interface(name) != Some(ABSENT) && control.note_interface(name, GONE) {
        tracing::error!("interface `{name}`: {GONE}");
    }
}

/// Lets go of interfaces that are gone, and of those whose name is another's now. Interfaces that
/// the view does not know are left alone: it may be older than they are.
fn release(control: &mut Control<Kernel>, config: &Config, view: &View) -> Result<(), KernelError> {
    let wanted = indices(config, view);
    let known: Vec<u32> = view.links.values().map(|link| link.ifindex).collect();
    let kernel = control.dataplane();
    kernel.forget_gone()?;
    kernel.detach_others(|ifindex| wanted.contains(&ifindex) || !known.contains(&ifindex))
}

/// Attaches to all of these. One that is attached natively and should not be is so anew, and for a
/// moment its packets meet no program; the kernel knows no other way.
fn put_on(kernel: &mut Kernel, there: &[(&str, &Link)], mode: Mode) -> Result<(), KernelError> {
    for (name, link) in there {
        if mode == Mode::Generic && kernel.mode(link.ifindex)? == Some(Mode::Native) {
            kernel.detach_others(|ifindex| ifindex != link.ifindex)?;
        }
        kernel.attach(link.ifindex, name, mode)?;
    }
    Ok(())
}

/// In the drivers if they all can, else in the network stack. A frame that is sent natively leaves
/// by a driver that takes such (`ndo_xdp_xmit`), or not at all, so one mode is for all.
fn put_on_as_all_can(
    kernel: &mut Kernel,
    there: &[(&str, &Link)],
    config: &Config,
    view: &View,
) -> Result<(), KernelError> {
    let indices = there.iter().map(|(_, link)| link.ifindex);
    let modes = modes(kernel, indices)?;
    if modes.contains(&Mode::Generic) {
        return put_on(kernel, there, Mode::Generic);
    }
    let mut confined = view.clone();
    confine(&config.node.interfaces, &mut confined);
    if modes.is_empty() && confined != *view {
        tracing::warn!(
            "a backend is routed over an interface that is none of node.interfaces; all interfaces \
             are attached in generic mode, which is slower, since native XDP may not send there"
        );
        return put_on(kernel, there, Mode::Generic);
    }
    match put_on(kernel, there, Mode::Native) {
        Err(KernelError::NotNative(name)) => {
            warn_of_generic(&name);
            put_on(kernel, there, Mode::Generic)
        }
        other => other,
    }
}

/// Attaches to one interface beside those that are attached; says how, unless it was on it already.
fn join(
    kernel: &mut Kernel,
    (name, link): (&str, &Link),
    config: &Config,
    view: &View,
) -> Result<Option<Mode>, KernelError> {
    if kernel.is_attached(link.ifindex)? {
        return Ok(None);
    }
    let mode = match config.node.attach {
        Attach::Native => Mode::Native,
        Attach::Generic => Mode::Generic,
        Attach::Auto => return join_others(kernel, (name, link), config, view).map(Some),
    };
    kernel.attach(link.ifindex, name, mode)?;
    Ok(Some(mode))
}

/// In the mode of the others. These are left as they are: they carry traffic.
fn join_others(
    kernel: &mut Kernel,
    (name, link): (&str, &Link),
    config: &Config,
    view: &View,
) -> Result<Mode, KernelError> {
    let others = modes(kernel, indices(config, view).into_iter())?;
    if !others.contains(&Mode::Generic) {
        match kernel.attach(link.ifindex, name, Mode::Native) {
            Err(KernelError::NotNative(name)) if others.is_empty() => warn_of_generic(&name),
            Err(KernelError::NotNative(name)) => return Err(KernelError::NotAsOthers(name)),
            other => return other.map(|()| Mode::Native),
        }
    }
    kernel.attach(link.ifindex, name, Mode::Generic)?;
    Ok(Mode::Generic)
}

/// The modes of those that the program is on.
fn modes(
    kernel: &mut Kernel,
    indices: impl Iterator<Item = u32>,
) -> Result<Vec<Mode>, KernelError> {
    let modes = indices.map(|ifindex| kernel.mode(ifindex));
    modes.filter_map(Result::transpose).collect()
}

fn warn_of_generic(name: &str) {
    tracing::warn!(
        "interface `{name}`: its driver has no native XDP; all interfaces are attached in generic \
         mode, which is slower"
    );
}

/// What listings say of an attached interface. Where it was attached already, what was said of it
/// `before` stands.
fn describe(before: Option<&str>, mode: Option<Mode>, link: &Link) -> String {
    let before = before.and_then(|before| before.split(';').next());
    let before = before.filter(|before| before.starts_with("attached"));
    let how = match mode {
        Some(mode) => format!("attached, {mode}"),
        None => before.unwrap_or("attached").to_owned(),
    };
    if link.up { how } else { format!("{how}; down") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(links: &[(&str, u32)]) -> View {
        let link = |ifindex| Link {
            ifindex,
            up: true,
            mac: [2; 6],
            mtu: 1500,
        };
        let links = links.iter();
        View {
            links: links
                .map(|&(name, index)| (name.to_owned(), link(index)))
                .collect(),
            ..View::default()
        }
    }

    fn index(before: &[(&str, u32)], after: &[(&str, u32)], name: &str) -> Option<u32> {
        let configured = ["front".to_owned(), "back".to_owned()];
        let mut after = view(after);
        keep_renamed(&configured, &view(before), &mut after);
        after.links.get(name).map(|link| link.ifindex)
    }

    #[test]
    fn a_renamed_interface_is_still_the_configured_one() {
        let before = [("front", 2), ("back", 3)];
        let after = [("wan0", 2), ("back", 3)];
        assert_eq!(index(&before, &after, "front"), Some(2));
    }

    #[test]
    fn an_interface_with_the_name_is_the_configured_one_whatever_had_it_before() {
        let before = [("front", 2), ("back", 3)];
        let after = [("wan0", 2), ("front", 7), ("back", 3)];
        assert_eq!(index(&before, &after, "front"), Some(7));
    }

    #[test]
    fn two_configured_interfaces_are_not_taken_for_each_other() {
        let before = [("front", 2), ("back", 3)];
        assert_eq!(index(&before, &[("back", 2)], "front"), None);
        assert_eq!(index(&before, &[("back", 3)], "front"), None, "gone");
    }
}
