//! GRUB for UEFI: what its `exit` tells the firmware.

/// A place in GRUB's machine code, and what is written there.
pub(super) struct Patch {
    /// `grub_exit` of Debian 12's GRUB (2.06), the part that sets up the arguments of the
    /// firmware's `Exit`; `None` where an address stands.
    code: &'static [Option<u8>],
    /// Offsets in it, and the bytes that go there.
    changes: &'static [(usize, &'static [u8])],
}

#[rustfmt::skip]
pub(super) const X86_64: Patch = Patch {
    code: &[
        Some(0xbf), Some(1), Some(0), Some(0), Some(0), // mov edi, 1
        Some(0x50), // push rax
        Some(0x48), Some(0xb8), None, None, None, None, None, None, None, None, // mov rax, ...
        Some(0xff), Some(0xd0), // call rax: grub_machine_fini
        Some(0x45), Some(0x31), Some(0xc0), // xor r8d, r8d
        Some(0x31), Some(0xc9), // xor ecx, ecx
        Some(0x31), Some(0xd2), // xor edx, edx: the status, EFI_SUCCESS
    ],
    changes: &[
        // push 1; pop rdi; push -1; nop: as long as before, and the stack as deep.
        (0, &[0x6a, 0x01, 0x5f, 0x6a, 0xff, 0x90]),
        // pop rdx; push rdx: the status is that -1.
        (23, &[0x5a, 0x52]),
    ],
};

#[rustfmt::skip]
pub(super) const AARCH64: Patch = Patch {
    code: &[
        Some(0x21), Some(0x30), Some(0x40), Some(0xf9), // ldr x1, [x1, 96]: boot services
        Some(0x24), Some(0x6c), Some(0x40), Some(0xf9), // ldr x4, [x1, 216]: Exit
        Some(0x01), Some(0x00), Some(0x80), Some(0xd2), // mov x1, 0: the status, EFI_SUCCESS
        Some(0x80), Some(0x00), Some(0x3f), Some(0xd6), // blr x4
    ],
    changes: &[
        // mov x1, -1
        (8, &[0x01, 0x00, 0x80, 0x92]),
    ],
};

/// Makes GRUB's `exit` return -1 to the firmware, which has an error's top bit. GRUB always
/// returns success, and then EDK2 shows its menu and waits, where it would have gone on to the
/// next boot option, the network. A GRUB that is built otherwise stays as it is: it only gets
/// there when neither slot can be loaded.
pub(super) fn patch(efi: &mut [u8], patch: &Patch) {
    let matches = |window: &[u8]| {
        let mut pairs = window.iter().zip(patch.code);
        pairs.all(|(byte, wanted)| wanted.is_none_or(|it| it == *byte))
    };
    let places = efi.windows(patch.code.len()).enumerate();
    let mut found = places.filter(|(_, window)| matches(window));
    let (Some((place, _)), None) = (found.next(), found.next()) else {
        return;
    };
    for (offset, bytes) in patch.changes {
        let at = place + offset;
        efi[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GRUB's code with a little on both sides.
    fn program(exit: &Patch) -> Vec<u8> {
        let code = exit.code.iter().map(|byte| byte.unwrap_or(9));
        [7; 5].into_iter().chain(code).chain([7; 5]).collect()
    }

    #[test]
    fn exit_is_patched_where_it_is_found_once() {
        let mut x86 = program(&X86_64);
        let before = x86.clone();
        patch(&mut x86, &X86_64);
        assert_eq!(x86[5..11], [0x6a, 0x01, 0x5f, 0x6a, 0xff, 0x90]);
        assert_eq!(x86[11..28], before[11..28]);
        assert_eq!(x86[28..], [0x5a, 0x52, 7, 7, 7, 7, 7]);

        let mut arm = program(&AARCH64);
        let before = arm.clone();
        patch(&mut arm, &AARCH64);
        assert_eq!(arm[..13], before[..13]);
        assert_eq!(arm[13..17], 0x9280_0001_u32.to_le_bytes()); // movn x1, 0
        assert_eq!(arm[17..], before[17..]);

        for exit in [X86_64, AARCH64] {
            let twice = program(&exit).repeat(2);
            let mut unpatched = twice.clone();
            patch(&mut unpatched, &exit);
            assert_eq!(unpatched, twice);
        }
    }
}
