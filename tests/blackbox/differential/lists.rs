//! Random requests of lists.

use super::generate::Compare::{AnyOrder, Exact, SameType};
use super::generate::Row;

/// `<list>` is a key that mostly holds a list, `<elem>` an element that mostly occurs more than once, `<at>` an index
/// that C's `int` holds: LSET of 7.2 cuts others off.
pub const ROWS: &[Row] = &[
    (12, "{LPUSH|RPUSH} <list> <elem>+", Exact),
    (4, "RPUSH <list> <elem>+ <elem>+ <elem>+ <elem>+", Exact),
    (4, "{LPUSHX|RPUSHX} <list> <elem>+", Exact),
    (6, "{LPOP|RPOP} <list>", Exact),
    (4, "{LPOP|RPOP} <list> {1|2|3|5|0|-1|x|100}", Exact),
    (3, "LLEN <list>", Exact),
    (5, "LRANGE <list> <int> <int>", Exact),
    (3, "LRANGE <list> 0 -1", Exact),
    (5, "LINDEX <list> <int>", Exact),
    (6, "LSET <list> <at> <elem>", Exact),
    (8, "LINSERT <list> {BEFORE|AFTER|AFTER|before|<word>} <elem> <elem>", Exact),
    (5, "LREM <list> {0|1|-1|2|-2|-9223372036854775808|x} <elem>", Exact),
    (4, "LTRIM <list> {0|0|1|2|-8|-20|<int>} {-1|-1|-2|-3|8|20|<int>}", Exact),
    (6, "LPOS <list> <elem> [RANK <at>|COUNT <at>|MAXLEN <at>|RANK -1|COUNT 0]", Exact),
    (6, "LMOVE <list> <list> {LEFT|RIGHT|right} {LEFT|RIGHT|<word>}", Exact),
    (4, "RPOPLPUSH <list> <list>", Exact),
    (4, "LMPOP 2 <list> <list> {LEFT|RIGHT} [COUNT 2|COUNT <at>]", Exact),
    (1, "LMPOP <int> <list> {LEFT|RIGHT}", Exact),
    (3, "OBJECT ENCODING <list>", Exact),
    (2, "{COPY <list> <list> REPLACE|RENAME <list> <list>|DEL <list>|TYPE <list>}", Exact),
    // Only with what does not wait: the list is made by the command before.
    (1, "BLPOP <list> {x|-1|nan}", Exact),
    (1, "BLMOVE <list> <list> LEFT <word> 0", Exact),
    (1, "CONFIG SET list-max-listpack-size {-2|-1|0|1|2|3|5|8|128|-5}", Exact),
    (1, "MEMORY USAGE <list>", SameType),
    (4, "{SORT|SORT_RO} <list> [ALPHA|ALPHA|DESC|LIMIT <at> <at>|BY nosort|<word>]", Exact),
    (2, "SORT <list> ALPHA [BY nosort|DESC|LIMIT <at> <at>|STORE <list>]", Exact),
    (2, "SORT <set> ALPHA [DESC|LIMIT <at> <at>|STORE <list>]", Exact),
    (1, "SORT <set> BY nosort [STORE <list>]", AnyOrder),
    (2, "SORT <zset> {ALPHA|BY nosort} [DESC|LIMIT <at> <at>|STORE <list>]", Exact),
    (2, "SORT <list> [BY k*|BY kh*->a|GET #|GET k*|GET kh*->b|STORE <list>|ALPHA|DESC]", Exact),
    (1, "COMMAND {GETKEYS|GETKEYSANDFLAGS} SORT <list> [STORE <list>|LIMIT 0 <at>|BY <word>|GET <word>]", Exact),
    (1, "COMMAND GETKEYS {LMPOP 2 <list> <list> LEFT|BLPOP <list> <list> 0|LMOVE <list> <list> LEFT LEFT}", Exact),
];
