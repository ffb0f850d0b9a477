//! An app that tries what the word in a call's arguments says. Built by the tests with `rustc` alone, statically linked.
//!
//! It answers with what came of it: `done`, or the error. What ends it leaves no answer.

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, FromRawFd};
use std::sync::atomic::{AtomicI32, Ordering};

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn fork() -> c_int;
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn connect(socket: c_int, address: *const c_void, length: u32) -> c_int;
    fn bind(socket: c_int, address: *const c_void, length: u32) -> c_int;
    fn sendto(socket: c_int, data: *const c_void, length: usize, flags: c_int, address: *const c_void, size: u32) -> isize;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn ptrace(request: c_int, pid: c_int, address: *const c_void, data: *const c_void) -> c_long;
    fn execve(path: *const c_char, args: *const *const c_char, env: *const *const c_char) -> c_int;
    fn mmap(at: *mut c_void, length: usize, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn stat64(path: *const c_char, buffer: *mut c_void) -> c_int;
    fn recv(socket: c_int, data: *mut c_void, length: usize, flags: c_int) -> isize;
    fn recvmsg(socket: c_int, message: *mut MessageHead, flags: c_int) -> isize;
    fn sendmsg(socket: c_int, message: *const MessageHead, flags: c_int) -> isize;
}

/// `struct msghdr`, `struct iovec` and one `struct cmsghdr` with a descriptor, as the kernel has them on 64 bits.
#[repr(C)]
struct MessageHead {
    name: *mut c_void,
    name_length: u32,
    parts: *mut Part,
    part_count: usize,
    control: *mut Control,
    control_length: usize,
    flags: c_int,
}

#[repr(C)]
struct Part {
    data: *mut c_void,
    length: usize,
}

#[repr(C)]
struct Control {
    length: usize,
    level: c_int,
    kind: c_int,
    descriptor: c_int,
    padding: c_int,
}

/// The channel to the broker, where there is one.
static BROKER: AtomicI32 = AtomicI32::new(-1);

const SYS_EXECVEAT: c_long = if cfg!(target_arch = "x86_64") { 322 } else { 281 };
const SYS_CLONE: c_long = if cfg!(target_arch = "x86_64") { 56 } else { 220 };
const SYS_CLONE3: c_long = 435;
const SYS_EXIT: c_long = if cfg!(target_arch = "x86_64") { 60 } else { 93 };
const AT_EMPTY_PATH: c_int = 0x1000;

fn main() {
    let mut peeked = 0_u8;
    // Without a grant for connections the call is refused.
    if unsafe { recv(0, (&raw mut peeked).cast(), 1, 2) } == 1 && peeked == b'\n' {
        let (_, channel) = receive(0).unwrap();
        BROKER.store(channel, Ordering::Relaxed);
    }
    let mut socket = io::stdin().lock();
    let mut line = vec![];
    let mut byte = [0];
    while let Ok(1) = socket.read(&mut byte) {
        if byte[0] != b'\n' {
            line.push(byte[0]);
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut line)).unwrap();
        let id: u64 = field(&text, "\"id\":").parse().unwrap();
        if text.contains("\"method\":\"help\"") {
            say(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32601,\"message\":\"no\"}}}}\n"));
            continue;
        }
        if text.contains("\"method\":\"filter\"") {
            say(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{}}}\n", verdict(&text)));
            continue;
        }
        let word = field(&text, "\"try\":\"");
        let word = word.trim_matches('"');
        let result = attempt(word, id).unwrap_or_else(|error| error.to_string());
        say(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"came_of_it\":{result:?}}}}}\n"));
    }
}

/// As the owner's filter: what the text says.
fn verdict(text: &str) -> &'static str {
    if text.contains("HANG") {
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
    if text.contains("BLOCK") {
        return "{\"verdict\":\"block\",\"reason\":\"it says so\",\"findings\":[{\"rule\":\"word\"}]}";
    }
    if text.contains("FLAG") {
        return "{\"verdict\":\"flag\",\"reason\":\"it says so\"}";
    }
    "{\"verdict\":\"pass\"}"
}

/// Standard input is the socket; it is written to through another descriptor of the same.
fn say(text: &str) {
    let socket = io::stdin().as_fd().try_clone_to_owned().unwrap();
    std::fs::File::from(socket).write_all(text.as_bytes()).unwrap();
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let start = text.find(name).unwrap() + name.len();
    let rest = &text[start..];
    &rest[..rest.find(['"', ',', '}']).unwrap()]
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// `127.0.0.1:PORT` as the kernel has it.
fn loopback(port: u16) -> [u8; 16] {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&2_u16.to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[4..8].copy_from_slice(&[127, 0, 0, 1]);
    address
}

/// Bytes, and the descriptor that came with them, or -1.
fn receive(socket: c_int) -> io::Result<(String, c_int)> {
    let mut bytes = vec![0_u8; if socket == 0 { 1 } else { 4096 }];
    let mut part = Part { data: bytes.as_mut_ptr().cast(), length: bytes.len() };
    let mut control = Control { length: 0, level: 0, kind: 0, descriptor: -1, padding: 0 };
    let mut head = head(&mut part, &mut control);
    let length = checked(unsafe { recvmsg(socket, &mut head, 0) } as c_int)?;
    bytes.truncate(length as usize);
    Ok((String::from_utf8(bytes).unwrap(), control.descriptor))
}

fn head(part: &mut Part, control: &mut Control) -> MessageHead {
    MessageHead {
        name: std::ptr::null_mut(),
        name_length: 0,
        parts: part,
        part_count: 1,
        control,
        control_length: size_of::<Control>(),
        flags: 0,
    }
}

/// Asks the broker for a connection.
fn ask(request: &str) -> io::Result<std::fs::File> {
    let broker = BROKER.load(Ordering::Relaxed);
    if broker < 0 {
        return Err(io::Error::other("no broker"));
    }
    let mut channel = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(broker) });
    channel.write_all(request.as_bytes())?;
    let (answer, connection) = receive(broker)?;
    if connection < 0 {
        return Err(io::Error::other(answer));
    }
    Ok(unsafe { std::fs::File::from_raw_fd(connection) })
}

fn ask_host(rest: &str) -> io::Result<std::fs::File> {
    let (host, port) = rest.rsplit_once(' ').unwrap();
    ask(&format!("{{\"host\":\"{host}\",\"port\":{port}}}"))
}

fn attempt(word: &str, id: u64) -> io::Result<String> {
    let (word, rest) = word.split_once(' ').unwrap_or((word, ""));
    let number = || rest.parse::<u64>().unwrap_or_default();
    match word {
        "nothing" => {}
        "environment" => return Ok(format!("{} {}", std::env::vars().count(), std::env::args().count())),
        "cwd" => return Ok(std::env::current_dir()?.display().to_string()),
        "read" => return Ok(std::fs::read_to_string(rest)?.chars().take(40).collect()),
        "write" => std::fs::write(rest, "written by an app")?,
        "fill" => {
            for file in 0..64 {
                std::fs::write(format!("fill{file}"), vec![7; number() as usize])?;
            }
            std::thread::sleep(std::time::Duration::from_secs(3));
        }
        "stat" => {
            let path = CString::new(rest).unwrap();
            let mut buffer = [0_u8; 512];
            checked(unsafe { stat64(path.as_ptr(), buffer.as_mut_ptr().cast()) })?;
        }
        "connect" => {
            let socket = checked(unsafe { socket(2, 1, 0) })?;
            let address = loopback(number() as u16);
            checked(unsafe { connect(socket, address.as_ptr().cast(), 16) })?;
        }
        "ask" => drop(ask_host(rest)?),
        "peer" => {
            let mut stream = ask(&format!("{{\"peer\":\"{rest}\",\"port\":7}}"))?;
            stream.write_all(b"done by a stream")?;
            let mut heard = [0; 16];
            stream.read_exact(&mut heard)?;
            return Ok(String::from_utf8_lossy(&heard).into_owned());
        }
        "raw" => drop(ask(&rest.replace('^', "\""))?),
        "exchange" => {
            let mut connection = ask_host(rest)?;
            connection.write_all(b"hello\n")?;
            let mut heard = [0; 5];
            connection.read_exact(&mut heard)?;
            return Ok(format!("done {}", String::from_utf8_lossy(&heard)));
        }
        "hold" => {
            let (count, rest) = rest.split_once(' ').unwrap();
            for _ in 0..count.parse::<u32>().unwrap() {
                std::mem::forget(ask_host(rest)?);
            }
        }
        "hold_on" => {
            std::mem::forget(ask_host(rest)?);
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        "ask_often" => {
            for _ in 0..70 {
                drop(ask_host(rest));
            }
        }
        "send_descriptor" => {
            let mut byte = b'x';
            let mut part = Part { data: (&raw mut byte).cast(), length: 1 };
            let mut control = Control { length: 20, level: 1, kind: 1, descriptor: 0, padding: 0 };
            let head = head(&mut part, &mut control);
            checked(unsafe { sendmsg(0, &head, 0) } as c_int)?;
        }
        "protocol" => drop(checked(unsafe { socket(2, 1, number() as c_int) })?),
        "datagram" => drop(checked(unsafe { socket(2, 2, 0) })?),
        "fast_open" => {
            let socket = checked(unsafe { socket(2, 1, 0) })?;
            let (address, fast_open) = (loopback(number() as u16), 0x2000_0000);
            checked(unsafe { sendto(socket, c"x".as_ptr().cast(), 1, fast_open, address.as_ptr().cast(), 16) } as c_int)?;
        }
        "listen" => {
            let socket = checked(unsafe { socket(2, 1, 0) })?;
            checked(unsafe { bind(socket, loopback(0).as_ptr().cast(), 16) })?;
        }
        "fork" => {
            if checked(unsafe { fork() })? == 0 {
                std::process::exit(0);
            }
        }
        "vfork" => {
            // SIGCHLD with CLONE_VFORK and the parent's memory, and a child that does nothing: as `posix_spawn` begins.
            let flags: c_long = 0x4000 | 17;
            if unsafe { syscall(SYS_CLONE, flags, 0, 0, 0, 0) } == 0 {
                unsafe { syscall(SYS_EXIT, 0) };
            }
        }
        "clone" => {
            let flags = c_long::from_str_radix(rest, 16).unwrap();
            checked(unsafe { syscall(SYS_CLONE, flags, 0, 0, 0, 0) } as c_int)?;
        }
        "clone3" => {
            checked(unsafe { syscall(SYS_CLONE3, 0, 0) } as c_int)?;
        }
        "thread" => drop(std::thread::Builder::new().spawn(|| {})?),
        "threads" => {
            let pause = || std::thread::sleep(std::time::Duration::from_millis(1200));
            let all = (0..number()).map(|_| std::thread::Builder::new().spawn(pause));
            let all = all.collect::<io::Result<Vec<_>>>()?;
            all.into_iter().for_each(|thread| thread.join().unwrap());
        }
        "in_thread" => {
            let rest = rest.to_owned();
            let thread = std::thread::Builder::new().spawn(move || attempt(&rest, id))?;
            return thread.join().unwrap();
        }
        "exec" => exec(rest)?,
        "exec_fd" => exec_fd(rest)?,
        "kill" => drop(checked(unsafe { kill(number() as c_int, 0) })?),
        "ptrace" => drop(checked(unsafe { ptrace(16, number() as c_int, std::ptr::null(), std::ptr::null()) } as c_int)?),
        "memory" => {
            let memory = vec![1_u8; number() as usize];
            return Ok(format!("done {}", std::hint::black_box(memory).len()));
        }
        "shared" => {
            let memory = unsafe { mmap(std::ptr::null_mut(), number() as usize, 3, 0x21, -1, 0) };
            if memory as isize == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        "code" => {
            let memory = unsafe { mmap(std::ptr::null_mut(), 4096, 7, 0x22, -1, 0) };
            if memory as isize == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        "cpu" => loop {
            std::hint::black_box(id);
        },
        "sleep" => std::thread::sleep(std::time::Duration::from_millis(number())),
        "descriptors" => {
            let copies = (0..number()).map(|_| io::stdin().as_fd().try_clone_to_owned());
            copies.collect::<io::Result<Vec<_>>>()?;
        }
        "flood" => {
            let line = [b'x'; 4096];
            for _ in 0..number() {
                io::stderr().write_all(&line)?;
            }
        }
        "malformed" => say("this is no JSON\n"),
        "foreign" => say("{\"jsonrpc\":\"2.0\",\"id\":99999,\"result\":1}\n"),
        "wrong" => {
            say(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":7}}\n"));
            return Ok(String::new());
        }
        "endless" => loop {
            say(&"[".repeat(65_536));
        },
        "crash" => std::process::exit(3),
        "abort" => std::process::abort(),
        other => return Err(io::Error::other(format!("no such attempt: {other}"))),
    }
    Ok("done".to_owned())
}

fn exec(path: &str) -> io::Result<()> {
    let path = CString::new(path).unwrap();
    let args = [path.as_ptr(), std::ptr::null()];
    checked(unsafe { execve(path.as_ptr(), args.as_ptr(), [std::ptr::null()].as_ptr()) })?;
    Ok(())
}

/// By the one door that the sandbox itself goes through: a descriptor of the number that it uses.
fn exec_fd(rest: &str) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let (number, path) = rest.split_once(' ').unwrap();
    let file = std::fs::File::open(path)?;
    let number: c_int = number.parse().unwrap();
    checked(unsafe { dup2(file.as_raw_fd(), number) })?;
    let empty = c"".as_ptr();
    let args = [empty, std::ptr::null()];
    let env: [*const c_char; 1] = [std::ptr::null()];
    checked(unsafe { syscall(SYS_EXECVEAT, number, empty, args.as_ptr(), env.as_ptr(), AT_EMPTY_PATH) } as c_int)?;
    Ok(())
}
