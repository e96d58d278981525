//! Small ELF files, made by the tests themselves.

/// A program or library in the making: build id, names, code, data, debug information.
#[derive(Clone)]
pub(crate) struct ElfBuilder<'a> {
    pub(crate) wide: bool,
    pub(crate) big_endian: bool,
    pub(crate) machine: u16,
    /// `e_type`: 1 relocatable, 2 program, 3 shared, 4 core.
    pub(crate) kind: u16,
    pub(crate) interpreter: Option<&'a str>,
    pub(crate) needed: &'a [&'a str],
    pub(crate) soname: Option<&'a str>,
    pub(crate) runpath: Option<&'a str>,
    pub(crate) rpath: Option<&'a str>,
    pub(crate) pie: bool,
    pub(crate) build_id: &'a [u8],
    pub(crate) code: &'a [u8],
    pub(crate) debug: &'a [u8],
    /// What stands behind the last section, before the table of sections.
    pub(crate) behind: &'a [u8],
}

impl Default for ElfBuilder<'_> {
    fn default() -> Self {
        ElfBuilder {
            wide: true,
            big_endian: false,
            machine: 62,
            kind: 3,
            interpreter: None,
            needed: &[],
            soname: None,
            runpath: None,
            rpath: None,
            pie: false,
            build_id: &[7; 20],
            code: b"\xb8\x2a\0\0\0\xc3",
            debug: b"",
            behind: b"",
        }
    }
}

/// A section in the making.
#[derive(Clone, Default)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) link: u32,
    pub(crate) info: u32,
    pub(crate) entry: u64,
    pub(crate) align: usize,
    pub(crate) bytes: Vec<u8>,
}

/// Writes numbers as the file wants them.
#[derive(Clone, Copy)]
struct Writer {
    wide: bool,
    big_endian: bool,
}

impl Writer {
    fn number(self, len: usize, value: u64) -> Vec<u8> {
        let mut bytes = value.to_le_bytes()[..len].to_vec();
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }

    /// Fields of two or four bytes by their length, those of an address' length by 0.
    fn fields(self, fields: &[(usize, u64)]) -> Vec<u8> {
        let address = if self.wide { 8 } else { 4 };
        let bytes = |(len, value): &(usize, u64)| {
            let len = if *len == 0 { address } else { *len };
            self.number(len, *value)
        };
        fields.iter().flat_map(bytes).collect()
    }
}

fn len(bytes: &[u8]) -> u64 {
    bytes.len().try_into().unwrap()
}

impl ElfBuilder<'_> {
    fn writer(&self) -> Writer {
        Writer {
            wide: self.wide,
            big_endian: self.big_endian,
        }
    }

    /// Names, and what the dynamic section says of them.
    fn names(&self) -> (Vec<u8>, Vec<(u64, u64)>) {
        let needed = self.needed.iter().map(|name| (1, *name));
        let others = [(14, self.soname), (29, self.runpath), (15, self.rpath)];
        let others = others
            .into_iter()
            .filter_map(|(tag, name)| Some((tag, name?)));
        let (mut names, mut entries) = (vec![0], Vec::new());
        for (tag, name) in needed.chain(others) {
            entries.push((tag, len(&names)));
            names.extend(name.bytes().chain([0]));
        }
        (names, entries)
    }

    fn note(&self) -> Vec<u8> {
        let head = [(4, 4), (4, len(self.build_id)), (4, 3)];
        [&self.writer().fields(&head), &b"GNU\0"[..], self.build_id].concat()
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let writer = self.writer();
        let (names, mut entries) = self.names();
        let names_len = len(&names);
        entries.extend([(5, 0), (10, names_len)]);
        if self.pie {
            entries.push((0x6fff_fffb, 0x0800_0000));
        }
        entries.push((0, 0));
        let interpreter = self
            .interpreter
            .map_or(Vec::new(), |it| [it, "\0"].concat().into());
        let word = if self.wide { 8 } else { 4 };
        let section = |name, kind, flags, align, bytes| Section {
            name,
            kind,
            flags,
            align,
            bytes,
            ..Section::default()
        };
        let mut sections = vec![
            section(".interp", 1, 2, 1, interpreter),
            section(".note.gnu.build-id", 7, 2, 4, self.note()),
            section(".dynstr", 3, 2, 1, names),
            section(".text", 1, 6, 256, self.code.to_vec()),
            section(".dynamic", 6, 3, word, vec![0; 2 * word * entries.len()]),
            section(".comment", 1, 0, 1, b"a compiler\0".to_vec()),
            section(".debug_info", 1, 0, 1, self.debug.to_vec()),
        ];
        sections.retain(|it| !it.bytes.is_empty());
        let segments = 2 + usize::from(self.interpreter.is_some());
        let head = if self.wide {
            64 + 56 * segments
        } else {
            52 + 32 * segments
        };
        let offsets = offsets(head, &sections);
        let at = |name: &str| {
            let index = sections.iter().position(|it| it.name == name);
            index.map(|it| (offsets[it], len(&sections[it].bytes)))
        };
        let (names_at, _) = at(".dynstr").unwrap();
        let dynamic = at(".dynamic").unwrap();
        let mut table = vec![(1, 0, dynamic.0 + dynamic.1), (2, dynamic.0, dynamic.1)];
        table.extend(at(".interp").map(|(start, len)| (3, start, len)));
        let entries = entries.iter().flat_map(|(tag, value)| {
            let value = if *tag == 5 { names_at } else { *value };
            writer.fields(&[(0, *tag), (0, value)])
        });
        let entries = entries.collect();
        if let Some(it) = sections.iter_mut().find(|it| it.name == ".dynamic") {
            it.bytes = entries;
        }
        self.file(&table, sections, head)
    }

    /// A file of these segments (type, offset, length) and sections.
    pub(crate) fn file(
        &self,
        segments: &[(u64, u64, u64)],
        mut sections: Vec<Section>,
        head: usize,
    ) -> Vec<u8> {
        let writer = self.writer();
        let mut names = vec![0];
        let mut starts = vec![0];
        sections.push(Section {
            name: ".shstrtab",
            kind: 3,
            align: 1,
            ..Section::default()
        });
        for section in &sections {
            starts.push(len(&names));
            names.extend(section.name.bytes().chain([0]));
        }
        sections.last_mut().unwrap().bytes = names;
        let offsets = offsets(head, &sections);
        let mut content = Vec::new();
        let mut table = vec![0; if self.wide { 64 } else { 40 }];
        for ((section, start), offset) in sections.iter().zip(&starts[1..]).zip(&offsets) {
            content.resize(usize::try_from(*offset).unwrap() - head, 0);
            content.extend(&section.bytes);
            let address = if section.flags & 2 != 0 && self.kind != 1 {
                *offset
            } else {
                0
            };
            table.extend(writer.fields(&[
                (4, *start),
                (4, section.kind.into()),
                (0, section.flags),
                (0, address),
                (0, *offset),
                (0, len(&section.bytes)),
                (4, section.link.into()),
                (4, section.info.into()),
                (0, section.align.try_into().unwrap()),
                (0, section.entry),
            ]));
        }
        content.extend(self.behind);
        let count = u64::try_from(sections.len()).unwrap();
        let segments: Vec<u8> = segments.iter().flat_map(|it| self.segment(*it)).collect();
        let table_at = u64::try_from(head + content.len()).unwrap();
        let header = self.header(len(&segments), table_at, count);
        [header, segments, content, table].concat()
    }

    fn segment(&self, (kind, start, len): (u64, u64, u64)) -> Vec<u8> {
        let place = [(0, start), (0, start), (0, start), (0, len), (0, len)];
        let fields = if self.wide {
            [&[(4, kind), (4, 7)], &place[..], &[(0, 1)]].concat()
        } else {
            [&[(4, kind)], &place[..], &[(4, 7), (0, 1)]].concat()
        };
        self.writer().fields(&fields)
    }

    fn header(&self, segments_len: u64, table_at: u64, sections: u64) -> Vec<u8> {
        let (own, segment, section) = if self.wide {
            (64, 56, 64)
        } else {
            (52, 32, 40)
        };
        let (wide, big) = (u8::from(self.wide), u8::from(self.big_endian));
        let ident = [b"\x7fELF", &[1 + wide, 1 + big, 1, 0][..], &[0; 8]].concat();
        let fields = [
            (2, self.kind.into()),
            (2, self.machine.into()),
            (4, 1),
            (0, 0),
            (0, if segments_len == 0 { 0 } else { own }),
            (0, table_at),
            (4, 0),
            (2, own),
            (2, segment),
            (2, segments_len / segment),
            (2, section),
            (2, sections + 1),
            (2, sections),
        ];
        [ident, self.writer().fields(&fields)].concat()
    }
}

/// Where sections stand that follow each other after `head` bytes.
fn offsets(head: usize, sections: &[Section]) -> Vec<u64> {
    let mut end = head;
    let offset = |section: &Section| {
        let start = end.next_multiple_of(section.align);
        end = start + section.bytes.len();
        u64::try_from(start).unwrap()
    };
    sections.iter().map(offset).collect()
}

/// An object file with a call of `callee` and a reference to its own data. The debug section
/// stands first and has a symbol, so that all indexes move with it.
pub(crate) fn object(callee: &str, debug: &[u8]) -> Vec<u8> {
    let builder = ElfBuilder {
        kind: 1,
        ..ElfBuilder::default()
    };
    let writer = builder.writer();
    let symbol = |name, info, section, value| {
        writer.fields(&[
            (4, name),
            (1, info),
            (1, 0),
            (2, section),
            (0, value),
            (0, 0),
        ])
    };
    let with_debug = !debug.is_empty();
    let shift = u64::from(with_debug);
    let mut symbols = vec![symbol(0, 0, 0, 0)];
    if with_debug {
        symbols.push(symbol(0, 3, 1, 0));
    }
    symbols.push(symbol(0, 3, 3 + shift, 0));
    let locals = symbols.len();
    symbols.push(symbol(1, 0x10, 0, 0));
    let local = u64::try_from(locals).unwrap();
    let relocation = |offset, symbol: u64, kind, addend| {
        writer.fields(&[(0, offset), (0, symbol << 32 | kind), (0, addend)])
    };
    let relocations = [
        relocation(1, local, 4, 0),
        relocation(6, local - 1, 2, 0x1234),
    ]
    .concat();
    let section = |name, kind, flags, bytes: &[u8]| Section {
        name,
        kind,
        flags,
        align: 8,
        bytes: bytes.to_vec(),
        ..Section::default()
    };
    let index = |it: usize| u32::try_from(it).unwrap() + u32::from(with_debug);
    let mut sections = vec![
        section(".text", 1, 6, b"\xe8\0\0\0\0\xc3\0\0\0\0"),
        Section {
            link: index(4),
            info: index(1),
            entry: 24,
            ..section(".rela.text", 4, 0, &relocations)
        },
        section(".data", 1, 3, b"data of it"),
        Section {
            link: index(5),
            info: locals.try_into().unwrap(),
            entry: 24,
            ..section(".symtab", 2, 0, &symbols.concat())
        },
        section(".strtab", 3, 0, format!("\0{callee}\0").as_bytes()),
    ];
    if with_debug {
        sections.insert(0, section(".debug_info", 1, 0, debug));
    }
    builder.file(&[], sections, 64)
}
