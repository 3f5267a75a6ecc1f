"""Reviews of drafts, and conversations about studies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_STUDY = "studies.id"


def upgrade() -> None:
    """The way up: what was read before is preliminary."""
    op.add_column(
        "studies",
        sa.Column("review", sa.String(12), nullable=False, server_default="preliminary"),
    )
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "study", sa.String(16), sa.ForeignKey(_STUDY, ondelete="CASCADE"), nullable=False
        ),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("who", sa.String(12), nullable=False),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("language", sa.String(2)),
        sa.Column("text", sa.Text),
        sa.Column("reason", sa.String(20)),
        sqlite_autoincrement=True,  # a number seen by one reviewer is never another's
    )
    op.create_index("ix_reviews_study", "reviews", ["study"])
    op.create_table(
        "turns",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "study", sa.String(16), sa.ForeignKey(_STUDY, ondelete="CASCADE"), nullable=False
        ),
        sa.Column("conversation", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("who", sa.String(12), nullable=False),
        sa.Column("role", sa.String(9), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("disagrees", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("turns_study", "turns", ["study", "conversation", "id"])


def downgrade() -> None:
    """The way down: reviews and conversations are lost."""
    op.drop_table("turns")
    op.drop_table("reviews")
    op.drop_column("studies", "review")
