"""database.py FILE COUNT: keeps records in an LMDB database in FILE, COUNT transactions long (0: until it fails).

Prints "ready" after the first transaction, and `transactions=N` or `error=…` at the end.
"""
import sys

import lmdb

path, count = sys.argv[1], int(sys.argv[2])
done = 0
try:
    with lmdb.open(path, subdir=False, map_size=16 << 20, writemap=True) as database:
        while count == 0 or done < count:
            with database.begin(write=True) as transaction:
                for record in range(100):
                    transaction.put(b"%d" % record, b"%d" % (done * record) * 50)
            with database.begin() as transaction:
                for record in range(100):
                    if transaction.get(b"%d" % record) != b"%d" % (done * record) * 50:
                        sys.exit(f"record {record} is wrong in transaction {done}")
            done += 1
            if done == 1:
                print("ready", flush=True)
except lmdb.Error as error:
    print(f"error={error}")
    sys.exit(3)
print(f"transactions={done}")
