// zlib: the checksum of device commands, and the blocks of recorded traces.
#include <zlib.h>
