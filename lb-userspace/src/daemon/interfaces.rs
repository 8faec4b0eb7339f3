//! The program on the interfaces that the configuration names, as those come and go.
//!
//! An interface is known by its name: one that returns, or takes another's name, is the configured
//! one. Only a rename by itself cuts nothing off: the program stays on the renamed interface until
//! another has its name, the configuration names it no more, or the daemon starts again.

use std::collections::BTreeMap;

use crate::{
    config::{Attach, Config},
    control::{Control, ControlError},
    dataplane::kernel::{Attached, Kernel, KernelError, Mode},
    neighbour::{Link, View},
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
    let mut conditions = BTreeMap::new();
    for name in &config.node.interfaces {
        let condition = if let Some(link) = view.links.get(name) {
            describe(None, attach(kernel, link, name, config.node.attach)?, link)
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
            complete &= follow_one(control, name, link, config.node.attach);
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
        let attached = attach(control.dataplane(), link, name, config.node.attach);
        match attached {
            Ok(attached) => {
                let condition = describe(control.interface(name), attached, link);
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

fn follow_one(control: &mut Control<Kernel>, name: &str, link: &Link, attach_as: Attach) -> bool {
    match attach(control.dataplane(), link, name, attach_as) {
        Ok(attached) => {
            let condition = describe(control.interface(name), attached, link);
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

/// Attaches to one interface; with `auto`, in the driver if it can, else in the network stack.
fn attach(
    kernel: &mut Kernel,
    link: &Link,
    name: &str,
    attach: Attach,
) -> Result<(Mode, Attached), KernelError> {
    let ifindex = link.ifindex;
    Ok(match attach {
        Attach::Native => (Mode::Native, kernel.attach(ifindex, name, Mode::Native)?),
        Attach::Generic => (Mode::Generic, kernel.attach(ifindex, name, Mode::Generic)?),
        Attach::Auto => match kernel.attach(ifindex, name, Mode::Native) {
            Err(KernelError::NotNative(_)) => {
                tracing::warn!(
                    "interface `{name}`: its driver has no native XDP; attached in generic mode, \
                     which is slower"
                );
                (Mode::Generic, kernel.attach(ifindex, name, Mode::Generic)?)
            }
            other => (Mode::Native, other?),
        },
    })
}

/// What listings say of an attached interface; how an adopted link is attached is not known, but
/// what was said of it `before` stands.
fn describe(before: Option<&str>, (mode, attached): (Mode, Attached), link: &Link) -> String {
    let before = before.and_then(|before| before.split(';').next());
    let before = before.filter(|before| before.starts_with("attached"));
    let how = match attached {
        Attached::Anew => format!("attached, {mode}"),
        Attached::Already => before.unwrap_or("attached").to_owned(),
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
