//! Takes rights away from this process that a worker does not need, for the day on which somebody else decides what it does.
//!
//! Three layers, each only where the kernel has it: no new privileges by executing (prctl); nothing is written, made, removed
//! or executed anywhere in the file system, no TCP port is bound and no other process is sent signals (Landlock); no program
//! is executed, no process is made, looked into or given other rights, and nothing of the system is changed (seccomp).
//! Descriptors that are open stay as they are, and so does reading files: a site's folder may be anywhere.

use std::collections::BTreeMap;

use landlock::{ABI, AccessFs, AccessNet, Ruleset, RulesetAttr as _, RulesetError, RulesetStatus, Scope};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

/// The newest version of Landlock whose rights are asked for; on an older kernel, those that it has.
const LANDLOCK: ABI = ABI::V6;

/// Calls of newer kernels that the library has no names for everywhere; their numbers are the same on every architecture.
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const FILE_SETATTR: i64 = 469;

/// Calls that a worker never makes and an intruder would. Those that threads are made with are not among them.
const FORBIDDEN: &[i64] = &[
    // Other programs and processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Another view of the system.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    // Another identity.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_personality,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // What Landlock does not know: modes, owners, attributes and times of files.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    libc::SYS_utimensat,
    libc::SYS_mknodat,
    // What Landlock knows in newer versions only: the length of files, and signals to others.
    libc::SYS_truncate,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_pidfd_send_signal,
    // The system itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
];

/// The same under the older names that only this architecture has.
#[cfg(target_arch = "x86_64")]
const FORBIDDEN_HERE: &[i64] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_mknod,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];

#[cfg(not(target_arch = "x86_64"))]
const FORBIDDEN_HERE: &[i64] = &[];

/// How much of Landlock holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Landlock {
    /// The kernel does not have it, or not for us.
    #[default]
    None,
    /// An older kernel's: files, but perhaps not ports and signals.
    Part,
    /// All that is asked for.
    Whole,
}

/// Which layers hold.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Confinement {
    /// Nothing that is executed has more rights than who executes it.
    pub no_new_privs: bool,
    /// The file system can only be read.
    pub landlock: Landlock,
    /// The calls of the list are refused.
    pub seccomp: bool,
}

impl Confinement {
    /// The names of the layers that hold.
    pub fn words(self) -> Vec<&'static str> {
        let layers = [
            (self.no_new_privs, "no-new-privs"),
            (self.landlock == Landlock::Whole, "landlock"),
            (self.landlock == Landlock::Part, "part of landlock"),
            (self.seccomp, "seccomp"),
        ];
        layers
            .into_iter()
            .filter_map(|(holds, word)| holds.then_some(word))
            .collect()
    }
}

/// Confines this thread and all that it makes from now on; those that there are already are confined by seccomp only.
///
/// Shape: what the kernel does not have is left out, and the answer says so. It cannot be taken back.
pub fn confine() -> Confinement {
    let no_new_privs = rustix::thread::set_no_new_privs(true).is_ok();
    Confinement {
        no_new_privs,
        landlock: match read_only() {
            Ok(RulesetStatus::FullyEnforced) => Landlock::Whole,
            Ok(RulesetStatus::PartiallyEnforced) => Landlock::Part,
            Ok(RulesetStatus::NotEnforced) | Err(_) => Landlock::None,
        },
        seccomp: no_new_privs && few_calls().is_ok(),
    }
}

/// Source: landlock(7). A right that is handled and that no rule grants is refused everywhere.
fn read_only() -> Result<RulesetStatus, RulesetError> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_write(LANDLOCK) | AccessFs::Execute)?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::Signal)?
        .create()?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
enum FilterError {
    #[error("the filter cannot be made")]
    Make(#[from] BackendError),
    #[error("the kernel does not take the filter")]
    Apply(#[from] seccompiler::Error),
}

/// Refuses calls of the other numbering that kernels for this architecture may have (x32), which a filter by numbers would let
/// pass.
///
/// Source: seccomp(2), "the x32 ABI".
#[cfg(target_arch = "x86_64")]
fn no_other_numbering() -> Result<(), seccompiler::Error> {
    const X32: u32 = 0x4000_0000;
    let statement = |code: u32, k: u32, jf: u8| sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    let program = [
        // The number of the call is the first field of what a filter sees.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, X32, 1),
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
            0,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    seccompiler::apply_filter_all_threads(&program)
}

#[cfg(not(target_arch = "x86_64"))]
fn no_other_numbering() -> Result<(), seccompiler::Error> {
    Ok(())
}

/// Source: seccomp(2). A library that is refused `clone3` for want of it takes `clone`, whose flags a filter can see.
fn few_calls() -> Result<(), FilterError> {
    let is_process = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64),
        0,
    )?;
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = FORBIDDEN
        .iter()
        .chain(FORBIDDEN_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    refused.insert(libc::SYS_clone, vec![SeccompRule::new(vec![is_process])?]);
    let own = u64::from(std::process::id());
    let is_other = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, own)?;
    for call in [libc::SYS_tgkill, libc::SYS_rt_tgsigqueueinfo] {
        refused.insert(call, vec![SeccompRule::new(vec![is_other.clone()])?]);
    }
    let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    for (rules, errno) in [(refused, libc::EPERM), (unknown, libc::ENOSYS)] {
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::Allow,
            SeccompAction::Errno(errno.unsigned_abs()),
            std::env::consts::ARCH.try_into()?,
        )?;
        seccompiler::apply_filter_all_threads(&BpfProgram::try_from(filter)?)?;
    }
    no_other_numbering()?;
    Ok(())
}
