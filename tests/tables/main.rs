//! Tables: interfaces, addresses, routes and neighbours, as the daemon and `iph` show them.

mod iproute2;
