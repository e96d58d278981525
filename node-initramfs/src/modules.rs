//! Kernel modules: which ones this machine needs, and loading them.
//!
//! The boot image carries an index ([`bootd_protocol::modindex`]) that already says what
//! depends on what, so there is no `depmod`, no `modprobe` and no search for files here. What
//! to load is decided by [`plan`], which is pure; [`Loader`] reads `/sys` and calls the kernel.

mod glob;
mod load;

pub use glob::matches;
pub use load::{INDEX, Loader, Outcome};

use bootd_protocol::modindex::{Index, Module};

/// The modules to load now, in an order in which they can be loaded.
///
/// Wanted are those called one of `names`, those with an alias that matches one of
/// `modaliases` (the names of the devices that are there), and everything they depend on.
/// `done` says for each position of the index whether that module is out of the question: it
/// was loaded, or tried in vain. A name that the index does not hold is passed over: it is
/// built into the kernel (the builder of boot images checks that), and if it is not, what needs
/// it says so better.
pub fn plan<'i, 'a>(
    index: &'i Index<'a>,
    modaliases: &[String],
    names: &[&str],
    done: &[bool],
) -> Vec<&'i Module<'a>> {
    let modules = index.modules();
    let is_done = |at: usize| done.get(at).copied().unwrap_or(false);
    let drives_one = |module: &Module<'_>| {
        let mut pairs = module
            .aliases
            .iter()
            .flat_map(|alias| modaliases.iter().map(move |modalias| (alias, modalias)));
        pairs.any(|(alias, modalias)| matches(alias, modalias))
    };
    let mut wanted: Vec<bool> = modules
        .iter()
        .enumerate()
        .map(|(at, module)| !is_done(at) && (names.contains(&module.name) || drives_one(module)))
        .collect();
    // Dependencies stand before what needs them: one walk from the end marks them all.
    for at in (0..modules.len()).rev() {
        if wanted[at] {
            for depends in &modules[at].depends {
                wanted[*depends] |= !is_done(*depends);
            }
        }
    }
    modules
        .iter()
        .zip(wanted)
        .filter_map(|(module, wanted)| wanted.then_some(module))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "virtio\tvirtio.ko\t\t\n\
        virtio_ring\tvirtio_ring.ko\tvirtio\t\n\
        virtio_pci\tvirtio_pci.ko\tvirtio_ring\tpci:v00001AF4d*sv*sd*bc*sc*i*\n\
        virtio_net\tvirtio_net.ko\tvirtio,virtio_ring\tvirtio:d00000001v*\n\
        sd_mod\tsd_mod.ko\t\tscsi:t-0x00*\n\
        overlay\toverlay.ko\t\tfs-overlay\n";

    const PCI: &str = "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00";
    const NET: &str = "virtio:d00000001v00001AF4";

    fn planned(modaliases: &[&str], names: &[&str], done: &[bool]) -> Vec<String> {
        let index = Index::parse(INDEX).unwrap();
        let modaliases: Vec<String> = modaliases.iter().map(|&text| text.to_owned()).collect();
        let modules = plan(&index, &modaliases, names, done);
        modules
            .iter()
            .map(|module| module.name.to_owned())
            .collect()
    }

    #[test]
    fn devices_bring_their_drivers_and_what_those_need() {
        let first = ["virtio", "virtio_ring", "virtio_pci"];
        assert_eq!(planned(&[PCI], &[], &[]), first);
        // With the bus there, the next round finds the card.
        let done = [true, true, true];
        assert_eq!(planned(&[PCI, NET], &[], &done), ["virtio_net"]);
        let done = [true, true, true, true];
        assert_eq!(planned(&[PCI, NET], &[], &done), [""; 0]);
    }

    #[test]
    fn names_are_taken_with_what_they_need() {
        assert_eq!(
            planned(&[], &["overlay", "virtio_net", "ext4"], &[]),
            ["virtio", "virtio_ring", "virtio_net", "overlay"]
        );
    }

    #[test]
    fn unknown_devices_bring_nothing() {
        let unknown = "pci:v00008086d000029C0sv00001AF4sd00001100bc06sc00i00";
        assert_eq!(planned(&[unknown, ""], &[], &[]), [""; 0]);
    }
}
