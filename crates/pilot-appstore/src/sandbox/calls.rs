//! seccomp: two filters. The first ends a process that calls what no computation calls; the second lets through what one
//! needs and refuses the rest with `EPERM`. Of an app that may have threads, `clone` ends it unless it makes a thread; of `clone3`,
//! whose flags are behind a pointer that no filter follows, a third one says that this kernel has none.
//!
//! The exception is the one `execveat` by which the process becomes the app: of a descriptor whose number is beyond the
//! bound of open files. The app's own descriptors are all below it, so that no second one can ever be made.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::Plan;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What ends an app at once: other programs and processes, sockets, others' memory, the kernel's doors.
const HOSTILE: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_memfd_create,
    libc::SYS_shmget,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
];

#[cfg(target_arch = "x86_64")]
const HOSTILE_HERE: &[c_long] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const HOSTILE_HERE: &[c_long] = &[];

/// What makes a thread (`clone(2)`): all of these, and of the others only `FREELY`.
const THREAD: c_int = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM;
/// Where the new thread's number and its own memory go. `CLONE_DETACHED` means nothing since Linux 2.6; musl says it.
const FREELY: c_int = libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_SETTID
    | libc::CLONE_CHILD_CLEARTID
    | libc::CLONE_DETACHED;

/// What a computation needs that reads requests and writes answers.
const COMPUTING: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_ppoll,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_dup,
    libc::SYS_dup3,
];

#[cfg(target_arch = "x86_64")]
const COMPUTING_HERE: &[c_long] = &[
    libc::SYS_arch_prctl,
    libc::SYS_poll,
    libc::SYS_time,
    libc::SYS_dup2,
];
#[cfg(not(target_arch = "x86_64"))]
const COMPUTING_HERE: &[c_long] = &[];

/// What it takes to read files; which ones, Landlock says.
const READING: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_pread64,
];

#[cfg(target_arch = "x86_64")]
const READING_HERE: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
];
#[cfg(not(target_arch = "x86_64"))]
const READING_HERE: &[c_long] = &[];

/// And to change them.
const WRITING: &[c_long] = &[
    libc::SYS_pwrite64,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
];

#[cfg(target_arch = "x86_64")]
const WRITING_HERE: &[c_long] = &[
    libc::SYS_mkdir,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_rename,
];
/// Where the C library renames by this one.
#[cfg(target_arch = "aarch64")]
const WRITING_HERE: &[c_long] = &[libc::SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const WRITING_HERE: &[c_long] = &[];

/// To take connections from the daemon and to use them. Who has no other socket than those that the daemon gave it makes no
/// connection by these, and receives no descriptor but the daemon's.
const CONNECTING: &[c_long] = &[
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_shutdown,
];

/// The filters, in the order in which they are applied.
pub(super) fn filters(
    plan: &Plan,
    exec_fd: u64,
    pid: u64,
) -> Result<[BpfProgram; 3], BackendError> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let filter = |rules, otherwise, matched| -> Result<BpfProgram, BackendError> {
        SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()
    };
    let ended = filter(
        hostile(plan, exec_fd, pid)?,
        SeccompAction::Allow,
        SeccompAction::KillProcess,
    )?;
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let allowed = filter(allowed(plan, exec_fd)?, refused, SeccompAction::Allow)?;
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let absent = filter(absent(plan), SeccompAction::Allow, missing)?;
    // The last one lets no further filter through.
    Ok([ended, absent, allowed])
}

fn hostile(plan: &Plan, exec_fd: u64, pid: u64) -> Result<Rules, BackendError> {
    let mut rules = unconditional(&[HOSTILE, HOSTILE_HERE]);
    let other = |value| is_not(0, value);
    rules.insert(libc::SYS_execveat, vec![other(exec_fd)?]);
    // `abort` sends a signal to its own process.
    rules.insert(libc::SYS_tgkill, vec![other(pid)?]);
    if plan.may_connect() {
        rules.remove(&libc::SYS_recvmsg);
    }
    if plan.may_have_threads() {
        rules.remove(&libc::SYS_clone3);
        rules.insert(libc::SYS_clone, no_thread_rules()?);
    }
    Ok(rules)
}

/// What libraries do without where a kernel does not have it.
fn absent(plan: &Plan) -> Rules {
    let calls = plan.may_have_threads().then_some(libc::SYS_clone3);
    calls.into_iter().map(|call| (call, vec![])).collect()
}

/// A `clone` that makes something else than a thread: a flag of a thread's is missing, or there is another.
fn no_thread_rules() -> Result<Vec<SeccompRule>, BackendError> {
    let bits = (0..u32::BITS).map(|place| 1_u64 << place);
    let has = |flags: c_int, bit: u64| u64::from(flags.cast_unsigned()) & bit != 0;
    let mut rules = vec![];
    for bit in bits.filter(|bit| !has(FREELY, *bit)) {
        let wrong = if has(THREAD, bit) { 0 } else { bit };
        rules.push(SeccompRule::new(vec![masked(0, bit, wrong)?])?);
    }
    Ok(rules)
}

/// The same said the other way round, over all 64 bits.
fn thread_rules() -> Result<Vec<SeccompRule>, BackendError> {
    let relevant = !u64::from(FREELY.cast_unsigned());
    let thread = masked(0, relevant, u64::from(THREAD.cast_unsigned()))?;
    Ok(vec![SeccompRule::new(vec![thread])?])
}

fn allowed(plan: &Plan, exec_fd: u64) -> Result<Rules, BackendError> {
    let mut rules = unconditional(&[COMPUTING, COMPUTING_HERE]);
    rules.insert(libc::SYS_execveat, vec![is(0, exec_fd)?]);
    rules.insert(libc::SYS_tgkill, vec![]);
    rules.insert(libc::SYS_mmap, mapping_rules(plan)?);
    rules.insert(libc::SYS_mprotect, protecting_rules(plan)?);
    rules.insert(libc::SYS_fcntl, fcntl_rules()?);
    // To ask for a limit, not to set one.
    rules.insert(libc::SYS_prlimit64, vec![is(2, 0)?]);
    if plan.may_have_threads() {
        rules.insert(libc::SYS_clone, thread_rules()?);
        // The filter for it answers.
        rules.insert(libc::SYS_clone3, vec![]);
        // A thread gets its name.
        let name = u64::from(libc::PR_SET_NAME.unsigned_abs());
        rules.insert(libc::SYS_prctl, vec![is(0, name)?]);
    }
    if plan.may_open() {
        rules.extend(unconditional(&[READING, READING_HERE]));
    }
    if plan.may_write() {
        rules.extend(unconditional(&[WRITING, WRITING_HERE]));
    }
    if plan.may_connect() {
        rules.extend(unconditional(&[CONNECTING]));
    }
    Ok(rules)
}

fn unconditional(lists: &[&[c_long]]) -> Rules {
    let all = lists.iter().flat_map(|list| list.iter());
    all.map(|call| (*call, vec![])).collect()
}

/// Private memory only: shared memory is counted by no limit. Without libraries nothing becomes executable.
fn mapping_rules(plan: &Plan) -> Result<Vec<SeccompRule>, BackendError> {
    let kind = u64::from(libc::MAP_TYPE.unsigned_abs());
    let private = masked(3, kind, u64::from(libc::MAP_PRIVATE.unsigned_abs()))?;
    if plan.may_load() {
        return Ok(vec![SeccompRule::new(vec![private])?]);
    }
    Ok(vec![SeccompRule::new(vec![private, not_executable()?])?])
}

fn protecting_rules(plan: &Plan) -> Result<Vec<SeccompRule>, BackendError> {
    if plan.may_load() {
        return Ok(vec![]);
    }
    Ok(vec![SeccompRule::new(vec![not_executable()?])?])
}

fn not_executable() -> Result<SeccompCondition, BackendError> {
    masked(2, u64::from(libc::PROT_EXEC.unsigned_abs()), 0)
}

fn fcntl_rules() -> Result<Vec<SeccompRule>, BackendError> {
    let commands = [
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_DUPFD,
        libc::F_DUPFD_CLOEXEC,
    ];
    commands
        .into_iter()
        .map(|command| is(1, u64::from(command.unsigned_abs())))
        .collect()
}

fn is(argument: u8, value: u64) -> Result<SeccompRule, BackendError> {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn is_not(argument: u8, value: u64) -> Result<SeccompRule, BackendError> {
    condition(argument, SeccompCmpOp::Ne, value)
}

fn condition(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, op, value)?;
    SeccompRule::new(vec![condition])
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, BackendError> {
    let op = SeccompCmpOp::MaskedEq(mask);
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, op, value)
}
