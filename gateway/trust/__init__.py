"""Who may say what: people, enrolled keys, certificates, configuration approvals.

persons     whose keys sign decisions, with which role
people      the persons of the gateway's file
statements  the signed decisions themselves
keyfold     what decisions make of the keys, one after the other
keybook     the keys in force, folded from the decisions in the ledger
enrolment   inviting, approving, revoking, releasing
authority   the plant CA
changes     what differs between two configurations
assent      what an approval must be
approvals   which configurations a second person approved
closing     what a month's report must say of this, and what keeps it open
offline     keys and approvals of a bundle, judged by a verifier
broker      the broker's configuration and access list
"""
