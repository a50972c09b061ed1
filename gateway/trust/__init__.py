"""Who may say what: people, enrolled keys, certificates, configuration approvals.

people      whose keys sign decisions
statements  the signed decisions themselves
keybook     the keys in force, folded from the decisions in the ledger
enrolment   inviting, approving, revoking, releasing
authority   the plant CA
changes     what differs between two configurations
approvals   which configurations a second person approved
closing     what a month's report must say of this, and what keeps it open
broker      the broker's configuration and access list
"""
