"""First light: a cluster comes up, loses its primary in three ways under traffic, and loses nothing."""
from bad_days_test import observed


def test_node_killed_and_started_again(cluster):
    """Agent, guardian and postgres of the leader at once: the voters elect, the node comes back as a replica."""
    with observed(cluster):
        cluster.act("kill", "primary")
        cluster.run("start")


def test_postmaster_of_the_leader_killed(cluster):
    with observed(cluster):
        cluster.primary().postmaster().kill()


def test_switchover(cluster):
    leader = cluster.primary()
    with observed(cluster):
        cluster.run("cluster", "switchover", "--yes")
    assert cluster.primary() is not leader
