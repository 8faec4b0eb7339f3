//! The program on the interfaces that the configuration names, as those come and go.

use std::collections::BTreeMap;

use crate::{
    config::{Attach, Config},
    control::{Control, ControlError},
    dataplane::kernel::{Attached, Kernel, KernelError, Mode},
    neighbour::View,
};

/// Attaches to all, and leaves the others alone; says of each interface how.
pub fn attach_all(
    kernel: &mut Kernel,
    config: &Config,
    view: &View,
) -> Result<BTreeMap<String, String>, KernelError> {
    let mut conditions = BTreeMap::new();
    for name in &config.node.interfaces {
        // The preflight has seen it; gone since, it is attached when it returns.
        let Some(link) = view.links.get(name) else {
            continue;
        };
        let condition = attach(kernel, link.ifindex, name, config.node.attach)?;
        conditions.insert(name.clone(), condition);
    }
    Ok(conditions)
}

/// Interfaces have changed: attaches to those that returned, and says which are gone.
pub fn follow(control: &mut Control<Kernel>, view: &View) {
    let config = control.config().clone();
    for name in &config.node.interfaces {
        let Some(link) = view.links.get(name) else {
            if control.note_interface(name, "gone; waiting for its return") {
                tracing::error!("interface `{name}`: gone; it is attached again when it returns");
            }
            continue;
        };
        match attach(control.dataplane(), link.ifindex, name, config.node.attach) {
            Ok(condition) => {
                if control.note_interface(name, &condition) {
                    tracing::info!("interface `{name}`: {condition}");
                }
            }
            Err(error) => tracing::error!("{error}"),
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
        let attached = attach(control.dataplane(), link.ifindex, name, config.node.attach);
        match attached {
            Ok(condition) => drop(control.note_interface(name, &condition)),
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

/// Attaches to one interface; with `auto`, in the driver if it can, else in the network stack.
fn attach(
    kernel: &mut Kernel,
    ifindex: u32,
    name: &str,
    attach: Attach,
) -> Result<String, KernelError> {
    let (mode, attached) = match attach {
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
    };
    Ok(match attached {
        Attached::Anew => format!("attached, {mode}"),
        Attached::Already => "attached".to_owned(),
    })
}
