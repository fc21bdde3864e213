import SystemPackage

/// Who may have a userfaultfd(2) that reports what the kernel touches.
public enum UserFaults {
    /// Whether every user may (`vm.unprivileged_userfaultfd`, Documentation/admin-guide/sysctl/vm.rst), and not only who has
    /// CAP_SYS_PTRACE.
    public static var areForAllUsers: Bool {
        (try? SmallFile.text("/proc/sys/vm/unprivileged_userfaultfd")) == "1\n"
    }
}
