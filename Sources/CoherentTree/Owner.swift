import Glibc

/// Who mounts, and so owns sys/, dev/ and buffers/.
package let owner: (uid: UInt32, gid: UInt32) = (geteuid(), getegid())
