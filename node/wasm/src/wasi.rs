//! WASI preview 1, as far as a function is allowed it: three streams, an environment, clocks, random
//! numbers, waiting, and an exit status. Everything else is there, so that programs link, and says
//! that there are no files and no network.

use std::collections::BTreeSet;

use wasmtime::{Caller, Engine, Extern, FuncType, Linker, Memory, Val, ValType};

use crate::clock;
use crate::host::Host;
use crate::inspect::Offered;
use crate::streams;

/// Name of the module that the functions are imported from.
pub(crate) const WASI_P1: &str = "wasi_snapshot_preview1";

/// The guest ended itself with this status.
#[derive(Debug, thiserror::Error)]
#[error("exit status {0}")]
pub(crate) struct Exit(pub(crate) i32);

/// An error number that a guest is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(i32);

impl Errno {
    pub(crate) const BADF: Self = Self(8);
    pub(crate) const FAULT: Self = Self(21);
    pub(crate) const INVAL: Self = Self(28);
    const IO: Self = Self(29);
    const NOTDIR: Self = Self(54);
    const NOTSOCK: Self = Self(57);
    const NOTSUP: Self = Self(58);
    const SPIPE: Self = Self(70);

    pub(crate) fn number(self) -> i32 {
        self.0
    }
}

/// What a call of the host gives the guest: 0, or an error number.
pub(crate) fn result(result: Result<(), Errno>) -> i32 {
    result.map_or_else(Errno::number, |()| 0)
}

/// Functions that only refuse: name, parameters (`i` for 32 bits, `l` for 64), and the error if the
/// first parameter is an open stream; if it is none, the error is that there is no such descriptor.
const REFUSED: [(&str, &str, Errno); 29] = [
    ("fd_advise", "illi", Errno::SPIPE),
    ("fd_allocate", "ill", Errno::SPIPE),
    ("fd_datasync", "i", Errno::INVAL),
    ("fd_fdstat_set_rights", "ill", Errno::NOTSUP),
    ("fd_filestat_set_size", "il", Errno::INVAL),
    ("fd_filestat_set_times", "illi", Errno::INVAL),
    ("fd_pread", "iiili", Errno::SPIPE),
    // The first that fails ends a program's search for directories.
    ("fd_prestat_get", "ii", Errno::BADF),
    ("fd_prestat_dir_name", "iii", Errno::BADF),
    ("fd_pwrite", "iiili", Errno::SPIPE),
    ("fd_readdir", "iiili", Errno::NOTDIR),
    ("fd_renumber", "ii", Errno::NOTSUP),
    ("fd_seek", "ilii", Errno::SPIPE),
    ("fd_sync", "i", Errno::INVAL),
    ("fd_tell", "ii", Errno::SPIPE),
    ("path_create_directory", "iii", Errno::NOTDIR),
    ("path_filestat_get", "iiiii", Errno::NOTDIR),
    ("path_filestat_set_times", "iiiilli", Errno::NOTDIR),
    ("path_link", "iiiiiii", Errno::NOTDIR),
    ("path_open", "iiiiillii", Errno::NOTDIR),
    ("path_readlink", "iiiiii", Errno::NOTDIR),
    ("path_remove_directory", "iii", Errno::NOTDIR),
    ("path_rename", "iiiiii", Errno::NOTDIR),
    ("path_symlink", "iiiii", Errno::BADF),
    ("path_unlink_file", "iii", Errno::NOTDIR),
    ("sock_accept", "iii", Errno::NOTSOCK),
    ("sock_recv", "iiiiii", Errno::NOTSOCK),
    ("sock_send", "iiiii", Errno::NOTSOCK),
    ("sock_shutdown", "ii", Errno::NOTSOCK),
];

/// The linker of all guests, and the names that it offers.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<(Linker<Host>, Offered)> {
    let mut linker = Linker::new(engine);
    for (name, params, errno) in REFUSED {
        refuse(&mut linker, engine, name, params, errno)?;
    }
    strings(&mut linker)?;
    clocks(&mut linker)?;
    descriptors(&mut linker)?;
    streams::add(&mut linker)?;
    linker.func_wrap(WASI_P1, "proc_exit", |status: i32| -> wasmtime::Result<()> {
        Err(Exit(status).into())
    })?;
    linker.func_wrap(WASI_P1, "proc_raise", |_: i32| Errno::NOTSUP.number())?;
    // Guests make room at every tick, whether they ask to or not.
    linker.func_wrap(WASI_P1, "sched_yield", || 0)?;
    let names = REFUSED.map(|(name, ..)| name).into_iter().chain(SERVED);
    let offered: BTreeSet<_> = names.map(|name| (WASI_P1.to_owned(), name.to_owned())).collect();
    Ok((linker, offered))
}

/// Functions that do something.
const SERVED: [&str; 17] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_close",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_filestat_get",
    "fd_read",
    "fd_write",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
];

fn refuse(
    linker: &mut Linker<Host>,
    engine: &Engine,
    name: &str,
    params: &str,
    errno: Errno,
) -> wasmtime::Result<()> {
    let params = params.chars().map(|c| if c == 'l' { ValType::I64 } else { ValType::I32 });
    let ty = FuncType::new(engine, params, [ValType::I32]);
    linker.func_new(WASI_P1, name, ty, move |caller, params, results| {
        let open = params[0].i32().is_some_and(|fd| is_open(caller.data(), fd));
        results[0] = Val::I32(if open { errno } else { Errno::BADF }.number());
        Ok(())
    })?;
    Ok(())
}

pub(crate) fn is_open(host: &Host, fd: i32) -> bool {
    usize::try_from(fd).ok().and_then(|fd| host.open.get(fd)).copied().unwrap_or(false)
}

/// The guest's memory. A command exports one, or it would not have been compiled.
pub(crate) fn memory(caller: &mut Caller<'_, Host>) -> wasmtime::Result<Memory> {
    if let Some(memory) = caller.data().memory {
        return Ok(memory);
    }
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        wasmtime::bail!("no memory is exported");
    };
    caller.data_mut().memory = Some(memory);
    Ok(memory)
}

/// Runs `work` on the guest's memory.
pub(crate) fn on_memory(
    caller: &mut Caller<'_, Host>,
    work: impl FnOnce(&mut [u8], &mut Host) -> Result<(), Errno>,
) -> wasmtime::Result<i32> {
    let (bytes, host) = memory(caller)?.data_and_store_mut(caller);
    Ok(result(work(bytes, host)))
}

/// `size` bytes of the guest's at `at`.
pub(crate) fn slice(bytes: &[u8], at: u32, size: u32) -> Result<&[u8], Errno> {
    let rest = bytes.get(at as usize..).ok_or(Errno::FAULT)?;
    rest.get(..size as usize).ok_or(Errno::FAULT)
}

pub(crate) fn slice_mut(bytes: &mut [u8], at: u32, size: u32) -> Result<&mut [u8], Errno> {
    let rest = bytes.get_mut(at as usize..).ok_or(Errno::FAULT)?;
    rest.get_mut(..size as usize).ok_or(Errno::FAULT)
}

pub(crate) fn put(bytes: &mut [u8], at: u32, value: &[u8]) -> Result<(), Errno> {
    slice_mut(bytes, at, value.len() as u32)?.copy_from_slice(value);
    Ok(())
}

pub(crate) fn get<const N: usize>(bytes: &[u8], at: u32) -> Result<[u8; N], Errno> {
    slice(bytes, at, N as u32)?.try_into().map_err(|_| Errno::FAULT)
}

/// Arguments, of which there is one, and the environment.
fn strings(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    const NAME: &[u8] = b"function\0";
    fn sizes(bytes: &mut [u8], to: [u32; 2], count: u32, size: usize) -> Result<(), Errno> {
        put(bytes, to[0], &count.to_le_bytes())?;
        put(bytes, to[1], &(size as u32).to_le_bytes())
    }
    fn all(bytes: &mut [u8], mut list: u32, to: u32, strings: &[u8]) -> Result<(), Errno> {
        let mut at = to;
        for string in strings.split_inclusive(|byte| *byte == 0) {
            put(bytes, list, &at.to_le_bytes())?;
            put(bytes, at, string)?;
            list = list.checked_add(4).ok_or(Errno::FAULT)?;
            at = at.checked_add(string.len() as u32).ok_or(Errno::FAULT)?;
        }
        Ok(())
    }
    type Guest<'a> = Caller<'a, Host>;
    linker.func_wrap(
        WASI_P1,
        "args_sizes_get",
        |mut guest: Guest<'_>, count: u32, size: u32| {
            on_memory(&mut guest, |bytes, _| sizes(bytes, [count, size], 1, NAME.len()))
        },
    )?;
    linker.func_wrap(WASI_P1, "args_get", |mut guest: Guest<'_>, list: u32, to: u32| {
        on_memory(&mut guest, |bytes, _| all(bytes, list, to, NAME))
    })?;
    linker.func_wrap(
        WASI_P1,
        "environ_sizes_get",
        |mut guest: Guest<'_>, count: u32, size: u32| {
            on_memory(&mut guest, |bytes, host| {
                let own = &host.environment;
                sizes(bytes, [count, size], own.count, own.bytes.len())
            })
        },
    )?;
    linker.func_wrap(WASI_P1, "environ_get", |mut guest: Guest<'_>, list: u32, to: u32| {
        on_memory(&mut guest, |bytes, host| all(bytes, list, to, &host.environment.bytes))
    })?;
    Ok(())
}

/// The time of one of the guest's clocks in nanoseconds.
pub(crate) fn time(host: &Host, id: u32) -> Result<u64, Errno> {
    match id {
        0 => Ok(clock::unix().as_nanos() as u64),
        1 => Ok(clock::now().duration_since(host.begun).as_nanos() as u64),
        // Processor time is told to whoever pays for it, not to the guest.
        _ => Err(Errno::INVAL),
    }
}

fn clocks(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let resolution = |mut guest: Caller<'_, Host>, id: u32, to: u32| {
        on_memory(&mut guest, |bytes, host| {
            time(host, id)?;
            put(bytes, to, &1u64.to_le_bytes())
        })
    };
    linker.func_wrap(WASI_P1, "clock_res_get", resolution)?;
    let now = |mut guest: Caller<'_, Host>, id: u32, _precision: u64, to: u32| {
        on_memory(&mut guest, |bytes, host| put(bytes, to, &time(host, id)?.to_le_bytes()))
    };
    linker.func_wrap(WASI_P1, "clock_time_get", now)?;
    Ok(())
}

/// Closing, and what can be asked about a stream: that it is one, and no terminal.
fn descriptors(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    const RIGHT_READ: u64 = 1 << 1;
    const RIGHT_WRITE: u64 = 1 << 6;
    const RIGHT_POLL: u64 = 1 << 27;
    fn checked(host: &Host, fd: i32) -> Result<(), Errno> {
        if is_open(host, fd) { Ok(()) } else { Err(Errno::BADF) }
    }
    type Guest<'a> = Caller<'a, Host>;
    linker.func_wrap(WASI_P1, "fd_close", |mut guest: Guest<'_>, fd: i32| {
        let closed = checked(guest.data(), fd);
        if closed.is_ok() {
            guest.data_mut().open[fd as usize] = false;
        }
        result(closed)
    })?;
    linker.func_wrap(WASI_P1, "fd_fdstat_get", |mut guest: Guest<'_>, fd: i32, to: u32| {
        on_memory(&mut guest, |bytes, host| {
            checked(host, fd)?;
            let rights = RIGHT_POLL | if fd == 0 { RIGHT_READ } else { RIGHT_WRITE };
            // Type unknown, no flags, rights, and the same rights to inherit.
            put(bytes, to, &[0; 8])?;
            put(bytes, to.wrapping_add(8), &rights.to_le_bytes())?;
            put(bytes, to.wrapping_add(16), &rights.to_le_bytes())
        })
    })?;
    // Accepted, as by other hosts: the streams wait whatever is asked.
    linker.func_wrap(
        WASI_P1,
        "fd_fdstat_set_flags",
        |guest: Guest<'_>, fd: i32, _flags: i32| result(checked(guest.data(), fd)),
    )?;
    linker.func_wrap(WASI_P1, "fd_filestat_get", |mut guest: Guest<'_>, fd: i32, to: u32| {
        on_memory(&mut guest, |bytes, host| {
            checked(host, fd)?;
            put(bytes, to, &[0; 64])
        })
    })?;
    Ok(())
}

/// For a source of random numbers that fails.
pub(crate) const NO_RANDOM: Errno = Errno::IO;
